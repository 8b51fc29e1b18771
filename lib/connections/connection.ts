import type { Server, Socket } from 'node:net'

/** By what is spoken on it: `other` is what HTTP/1.1 was left for (CONNECT), or the application's own protocol. */
export type ConnectionKind = 'http1' | 'http2' | 'webSocket' | 'other'

/** What may be given to another process: nothing is under way on it. */
export type RestState = 'idle' | 'fresh'

/** What this process does with a connection. */
export type Phase =
  /** It reads it, and answers. */
  | { readonly name: 'here' }
  /** It will give it away if it is still at rest then: not a byte more than these has been read from it. */
  | { readonly name: 'queued'; readonly state: RestState; readonly bytesRead: number }
  /** Another process may read it, or does. This one may close it, and do nothing else to it. */
  | { readonly name: 'away' }
  /** Whoever is at the other end of this way would not take it, or it can't be sent at all. */
  | { readonly name: 'staying'; readonly way: object }
  /** It has ended it, and only awaits its last bytes. */
  | { readonly name: 'ending' }

/** For how long a connection may do nothing yet, where its socket's own timer does not say it: see `idle-clock.ts`. */
export interface Clock {
  /** `performance.now()` */
  readonly until: number
  /** It is over with the next byte. */
  readonly bytesRead: number
  /** Whether its client has had a response of an older generation. */
  readonly wasServed: boolean
  readonly end: () => void
  readonly stop: () => void
}

/** What a drain has noted of a connection that it has seen: see `tally.ts`. */
export interface Note {
  /** Whose note it is: each drain counts for itself. */
  readonly tally: object
  isCut: boolean
  /** A WebSocket that was told to go, and has not gone. */
  isAsked: boolean
  /** Another process has taken it, which may be heard of when it was cut here. */
  hasArrived: boolean
  /** It goes on elsewhere, or in another connection: its end is none. */
  hasLeft: boolean
}

/**
 * What is known of one connection. It is made when there is something to know: when a drain looks at the connection for
 * the first time, or when it comes from another process. So nothing is paid for one that is merely served.
 */
export class Connection {
  readonly socket: Socket
  phase: Phase = here
  /** As it was when a drain saw it first; undefined before. */
  kind: ConnectionKind | undefined = undefined
  clock: Clock | undefined = undefined
  /** Its client was served before, though nothing may have been read from it here: it was kept. */
  wasServed = false
  note: Note | undefined = undefined

  constructor(socket: Socket) {
    this.socket = socket
  }

  /** In whose list it is, or was last: another server may give it to this one. Undefined of what no server has accepted. */
  get server(): Server | undefined {
    return ownerOf(this.socket)?.server
  }
}

export const here: Phase = { name: 'here' }

const known = new WeakMap<Socket, Connection>()

/** The record of a connection, made if there is none yet. */
export function connectionOf(socket: Socket): Connection {
  let connection = known.get(socket)
  if (connection === undefined) {
    connection = new Connection(socket)
    known.set(socket, connection)
  }
  return connection
}

/** The record of a connection, if there is one. */
export function knownConnection(socket: Socket): Connection | undefined {
  return known.get(socket)
}

/** The server that has a connection in its list. One object a server. */
export interface Owner {
  readonly server: Server
  /** Another server has got it. */
  giveOn(socket: Socket): void
}

/** All that is kept of a connection that is merely served. */
const owners = new WeakMap<Socket, Owner>()

export function ownerOf(socket: Socket): Owner | undefined {
  return owners.get(socket)
}

export function setOwner(socket: Socket, owner: Owner): void {
  owners.set(socket, owner)
}
