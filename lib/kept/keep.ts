import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { GracefulUpgradeError } from '../errors.js'
import type { WebSocket } from '../internals/ws.js'
import { insidesOf } from '../internals/ws-insides.js'
import type { Log } from '../log.js'
import { routeOf } from './head.js'
import { type Kept, type KeptConnection, type Subject, setKept } from './kept.js'
import { rawSubject } from './raw-socket.js'
import { dictionaryOf, restoredState } from './restored.js'
import { createSave } from './save.js'
import { hasBody, streamSubject } from './stream.js'
import { webSocketSubject } from './web-socket.js'

/** What `keep()` keeps: a WebSocket of the package `ws`, or a response that is written bit by bit. */
export type KeepableConnection = WebSocket | ServerResponse

/** A request, of Fastify or of Node.js. */
export type KeepableRequest =
  | IncomingMessage
  | { readonly raw: IncomingMessage; readonly routeOptions?: { readonly url?: string | undefined } }

export interface KeepOptions {
  /** Longest state, in bytes of its JSON. @default 65536 */
  readonly maxState?: number
  /** Whether the application is in the middle of nothing; it is asked often while the connection waits to move. @default true */
  readonly atRest?: () => boolean
}

/** Declares connections to outlive their process. */
export interface Keeper {
  /**
   * Declares that a connection outlives its process: on an upgrade it moves, open, and its client notices nothing. The next
   * process runs its handler for the same request again, which finds by `restored()` what `save` has returned.
   * To be called in the handler, before anything asynchronous. A response to a request with a body stays: it could not be sent again.
   * @param connection a WebSocket of `ws`, and so of `@fastify/websocket`, or a response that is written bit by bit: `reply.raw`
   * @param save runs when it moves, once, unless it writes something. What it returns becomes JSON of at most `maxState` bytes; if
   * it can't, the log says so, and the client is told to come again
   * @throws GRACEFUL_UPGRADE_INVALID_OPTION for anything else
   */
  keep(
    connection: KeepableConnection,
    request: KeepableRequest,
    save: () => unknown,
    options?: KeepOptions
  ): Kept
  /**
   * The same for what follows an `upgrade`, or CONNECT, of another protocol. The next process answers the request again, and its
   * client doesn't get that.
   * @param unread what the application has read and not worked on: it is read again
   */
  keepSocket(
    socket: Duplex,
    request: KeepableRequest,
    save: () => unknown,
    unread: () => Uint8Array,
    options?: KeepOptions
  ): Kept
  /**
   * What `save` has returned in the process that this connection comes from, also in hooks; undefined of a request that a client
   * has sent to this one, which can't say so itself.
   */
  restored<State>(request: KeepableRequest): State | undefined
}

/** Longest state, in bytes. */
const defaultMaxState = 65_536

/** `WebSocket.OPEN` */
const open = 1

const reasons = {
  tls: 'connections over TLS of this process are not kept: let TLS end in front of it',
  http2: 'responses over HTTP/2 are not kept',
  ws: 'WebSockets are not kept: this version of ws is too old, or looks different inside (8.18 is the oldest that is known)',
  late: 'a WebSocket is not kept: keep() must be called in the handler, before the first message'
} as const

const streamReasons = {
  body: 'a stream is not kept: the body of its request can not be sent again',
  encoded: 'a stream is not kept: its response is compressed'
} as const

export function createKeeper(log: Pick<Log, 'warn'>): Keeper {
  const told = new Set<string>()
  return { keep, keepSocket, restored }

  function keep(
    connection: KeepableConnection,
    request: KeepableRequest,
    save: () => unknown,
    options: KeepOptions = {}
  ): Kept {
    const raw = rawOf(request)
    if (isWebSocket(connection)) {
      const { _socket: socket } = connection as { readonly _socket?: unknown }
      return remember(socket, raw, socket => subjectOf(connection, socket), save, options)
    }
    if (!('writeHead' in connection))
      throw invalid('keep() takes a WebSocket of ws, or a response of node:http')
    if ('stream' in connection) return notKept('http2')
    if (hasBody(raw)) {
      tellOf('body', request)
      return { moved: false }
    }
    // A response has no socket yet as long as one before it is written.
    const onEncoded = () => tellOf('encoded', request)
    return remember(
      raw.socket,
      raw,
      socket => streamSubject(connection, raw, socket, onEncoded),
      save,
      options
    )
  }

  function keepSocket(
    socket: Duplex,
    request: KeepableRequest,
    save: () => unknown,
    unread: () => Uint8Array,
    options: KeepOptions = {}
  ): Kept {
    return remember(socket, rawOf(request), socket => rawSubject(socket, unread), save, options)
  }

  function restored<State>(request: KeepableRequest): State | undefined {
    return restoredState(rawOf(request)) as State | undefined
  }

  function subjectOf(webSocket: WebSocket, socket: Socket): Subject | undefined {
    if (webSocket.readyState !== open) return undefined
    const insides = insidesOf(webSocket)
    if (insides === undefined) return tell('ws')
    const { protocol = '' } = webSocket as { protocol?: string }
    return webSocketSubject(insides, protocol, dictionaryOf(socket)) ?? tell('late')
  }

  function remember(
    socket: unknown,
    request: IncomingMessage,
    subjectOf: (socket: Socket) => Subject | undefined,
    save: () => unknown,
    { maxState = defaultMaxState, atRest = () => true }: KeepOptions
  ): Kept {
    if (!(socket instanceof Socket)) return { moved: false } // what `inject()` makes
    if ('encrypted' in socket) return notKept('tls')
    const subject = subjectOf(socket)
    if (subject === undefined) return { moved: false }
    const kept: KeptConnection = {
      socket,
      request,
      subject,
      atRest,
      save: createSave(save, maxState, request, log),
      phase: 'here'
    }
    setKept(kept)
    return {
      get moved() {
        return kept.phase === 'moved'
      }
    }
  }

  function notKept(reason: keyof typeof reasons): Kept {
    tell(reason)
    return { moved: false }
  }

  function tell(reason: keyof typeof reasons): undefined {
    if (isNews(reason)) log.warn(reasons[reason])
  }

  /** Once for each route; without routes, once for each method. */
  function tellOf(reason: keyof typeof streamReasons, request: KeepableRequest): void {
    const raw = rawOf(request)
    const route = 'raw' in request ? request.routeOptions?.url : undefined
    if (isNews(`${reason} ${raw.method} ${route}`)) log.warn({ route: routeOf(raw) }, streamReasons[reason])
  }

  function isNews(what: string): boolean {
    const isNew = !told.has(what)
    told.add(what)
    return isNew
  }
}

function isWebSocket(connection: object): connection is WebSocket {
  return 'ping' in connection
}

function rawOf(request: KeepableRequest): IncomingMessage {
  return 'raw' in request ? request.raw : request
}

function invalid(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_INVALID_OPTION', detail)
}
