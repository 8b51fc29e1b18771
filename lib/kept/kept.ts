import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Told } from '../handover/offer.js'

/** What `keep()` returns. */
export interface Kept {
  /**
   * Whether the connection has gone on in another process, or by another call of the handler in this one: what is told
   * of its end here is not its end.
   */
  readonly moved: boolean
}

/** A connection that shall outlive its process. It is made by `keep()`; nothing is kept of any other. */
export interface KeptConnection {
  readonly socket: Socket
  /** The one that is replayed. */
  readonly request: IncomingMessage
  readonly subject: Subject
  /** Of the application: whether it is in the middle of nothing. */
  atRest(): boolean
  /**
   * What the application goes on with in the next process, as JSON.
   * @returns undefined if there is no such thing: it has been logged
   */
  save(): string | undefined
  /** One that stays is an ordinary connection again. */
  phase: 'here' | 'moved' | 'staying'
}

/** What of a connection is kept: a WebSocket, a response, or what the application itself makes of the bytes. */
export interface Subject {
  /** Whether it is open, and may be at rest sometime. */
  isOpen(): boolean
  /**
   * Whether it is in the middle of nothing.
   * @param isBetweenMessages whether the HTTP parser is between two messages
   */
  isAtRest(isBetweenMessages: () => boolean): boolean
  told(): Told
  /** Headers of the request that are replaced; undefined: left out. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** What has been read and not been worked on. It is asked once, at the end. */
  unread(): Buffer
  dictionary?(): Buffer | undefined
  /**
   * Ends it here, where its end looks whole at any moment, and its client comes again: to be called when it doesn't move after
   * all. Nothing happens where that is not so, or not yet.
   */
  end?(): void
}

const known = new WeakMap<Socket, KeptConnection>()

/** The record of a connection that shall be kept, or was to be kept and stays; undefined of any other. */
export function keptOf(socket: Socket): KeptConnection | undefined {
  return known.get(socket)
}

/** The same, by what the application knows it as: a WebSocket, a response, or the socket itself. */
export function keptBy(connection: object): KeptConnection | undefined {
  const { _socket, socket } = connection as { readonly _socket?: Socket; readonly socket?: Socket | null }
  return known.get(_socket ?? socket ?? (connection as Socket))
}

/** A later one takes the place of an earlier one. */
export function setKept(kept: KeptConnection): void {
  known.set(kept.socket, kept)
}
