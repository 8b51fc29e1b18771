/**
 * The only file that touches what Node.js does not document. Each function says what it needs and what it
 * answers where that is missing; the callers then take the slower, documented way.
 */
import type { SendHandle } from 'node:child_process'
import { writeSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import net, { type Server, type Socket } from 'node:net'
import type { Server as TlsServer } from 'node:tls'

/** libuv's stream handle: `net.Server#_handle`, and what arrives over IPC when such a handle was sent. */
export interface RawHandle {
  readonly fd: number
  listen(backlog: number): number
  close(callback?: () => void): void
}

interface HttpParser {
  readonly incoming?: IncomingMessage | null
}

/** `net.Server#_handle`: what its address lives in, and what can be sent to another process as it is. */
export function listeningHandle(server: Server): RawHandle | undefined {
  const handle = (server as { _handle?: RawHandle | null })._handle
  return handle != null && Number.isInteger(handle.fd) && handle.fd >= 0 ? handle : undefined
}

/** A raw handle is a legal argument of `process.send()`, as 'net.Native', though no documented one. */
export function asSendHandle(handle: RawHandle): SendHandle {
  return handle as unknown as SendHandle
}

/** What came with an IPC message, if it is a raw handle. */
export function asRawHandle(handle: unknown): RawHandle | undefined {
  const raw = handle as Partial<RawHandle> | null | undefined
  return typeof raw?.fd === 'number' && typeof raw.close === 'function' ? (raw as RawHandle) : undefined
}

/**
 * To be called while a server's `listen()` is under way (channel `tracing:net.server.listen:asyncStart`):
 * makes it take the listening socket `descriptor`, but accept nothing before the returned function is called.
 * `listen({ fd })` alone would accept at once, and connections would die with a generation that never gets ready.
 *
 * `setupListenHandle` in lib/net.js uses a `_handle` that is already there instead of creating one.
 * @returns undefined where that is not possible; `listen({ fd })` is the way out then
 */
export function adoptListener(server: Server, descriptor: number): (() => number) | undefined {
  const create = (net as { _createServerHandle?: (...args: unknown[]) => RawHandle | number })
    ._createServerHandle
  if (typeof create !== 'function') return undefined
  const handle = create(null, null, null, descriptor)
  if (typeof handle !== 'object' || typeof handle.listen !== 'function') return undefined

  let backlog = 511
  handle.listen = asked => {
    backlog = asked
    return 0
  }
  ;(server as { _handle?: RawHandle })._handle = handle
  return function accept() {
    if (listeningHandle(server) !== handle) return 0 // closed meanwhile
    delete (handle as Partial<RawHandle>).listen
    return handle.listen(backlog)
  }
}

/** The response that is being written to a connection now: `socket._httpMessage`. */
export function currentResponse(socket: Socket): ServerResponse | undefined {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined
}

/** The newest request whose head has been read from a connection: `parser.incoming`; null when it is answered. */
export function newestRequest(socket: Socket): IncomingMessage | null | undefined {
  return (socket as { parser?: HttpParser | null }).parser?.incoming
}

/** Whether an HTTP parser still reads a connection: not so after an upgrade (WebSocket) or CONNECT. */
export function hasParser(socket: Socket): boolean {
  return (socket as { parser?: HttpParser | null }).parser != null
}

/**
 * The connections of a server whose parser is between two messages, by the list behind
 * `http.Server#closeIdleConnections()`. Only the parser knows: a part of the next request may have come in
 * the same segment as the last one.
 * @returns how many bytes have been read from each: while these are all, it is at rest, or answers; undefined where
 * Node.js hides the list; then no connection counts as idle
 */
export function connectionsAtRest(server: Server): Map<Socket, number> | undefined {
  const list = connectionsList(server)
  if (list === undefined) return undefined
  const atRest = new Map<Socket, number>()
  for (const { socket } of list.idle()) {
    if (socket) atRest.set(socket, socket.bytesRead)
  }
  return atRest
}

/** Whether it is known which connections of a server are at rest. */
export function tellsConnectionsAtRest(server: Server): boolean {
  return connectionsList(server) !== undefined
}

function connectionsList(server: Server): ConnectionsList | undefined {
  const symbol = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections'
  )
  const list = symbol && (server as unknown as Record<symbol, Partial<ConnectionsList> | undefined>)[symbol]
  return typeof list?.idle === 'function' ? (list as ConnectionsList) : undefined
}

interface ConnectionsList {
  /** Parsers. */
  idle(): readonly { readonly socket?: Socket }[]
}

/**
 * The handle of an accepted connection: what can be sent to another process, without its streams.
 * @returns undefined of what the application has given to its server itself: a `TLSSocket`, or any other stream
 */
export function connectionHandle(socket: Socket): RawHandle | undefined {
  if ('encrypted' in socket) return undefined // it says the descriptor of the socket below, but `send()` throws
  return asRawHandle((socket as { _handle?: unknown })._handle)
}

/**
 * The socket that a server has accepted, below the TLS socket that is made of it: `_parent`, set by the constructor in
 * lib/internal/tls/wrap.js (Node.js 20: lib/_tls_wrap.js).
 */
export function socketBelow(secure: Socket): Socket | undefined {
  return (secure as { _parent?: Socket | null })._parent ?? undefined
}

/** Whether everything that was written to a connection has been taken by the system. */
export function isFlushed(socket: Socket): boolean {
  const { writeQueueSize = 0 } = (socket as { _handle?: { writeQueueSize?: number } | null })._handle ?? {}
  return socket.writableLength === 0 && writeQueueSize === 0
}

/**
 * Makes a connection that another process has accepted one of this server: what `onconnection` in lib/net.js does
 * for one that it accepts. The server counts it, so `getConnections()` and `close()` include it.
 * @returns undefined where `net.Socket` doesn't take a handle; the handle is the caller's still
 */
export function wrapAccepted(server: Server, handle: RawHandle): Socket | undefined {
  const { allowHalfOpen, pauseOnConnect, highWaterMark, noDelay, keepAlive, keepAliveInitialDelay } =
    server as unknown as AcceptOptions
  const socket = new net.Socket({
    handle,
    allowHalfOpen,
    pauseOnCreate: pauseOnConnect,
    readable: true,
    writable: true,
    readableHighWaterMark: highWaterMark,
    writableHighWaterMark: highWaterMark
  } as net.SocketConstructorOpts)
  if ((socket as { _handle?: unknown })._handle !== handle) return undefined
  if (noDelay) socket.setNoDelay(true)
  if (keepAlive) socket.setKeepAlive(true, (keepAliveInitialDelay ?? 0) * 1_000)
  const counted = server as { _connections?: number }
  if (typeof counted._connections === 'number') {
    counted._connections++
    const same = socket as { server?: Server; _server?: Server } // in Node.js's order: the same hidden class
    same.server = server
    same._server = server
  }
  return socket
}

interface AcceptOptions {
  readonly allowHalfOpen: boolean
  readonly pauseOnConnect: boolean
  readonly highWaterMark?: number
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  /** In seconds, as the server keeps it. */
  readonly keepAliveInitialDelay?: number
}

/**
 * For how long a connection may stay idle yet, in milliseconds, by the timer behind `socket.setTimeout()`.
 * @returns undefined where there is none, or it can't be read
 */
export function timeLeft(socket: Socket): number | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'timeout')
  const timer = symbol && (socket as unknown as Record<symbol, IdleTimer | null | undefined>)[symbol]
  if (timer == null || typeof timer._idleStart !== 'number' || typeof timer._idleTimeout !== 'number')
    return undefined
  const clock = setTimeout(() => {}, 1) as unknown as IdleTimer & NodeJS.Timeout
  clearTimeout(clock)
  if (typeof clock._idleStart !== 'number' || timer._idleTimeout < 0) return undefined
  return Math.max(timer._idleStart + timer._idleTimeout - clock._idleStart, 0)
}

interface IdleTimer {
  readonly _idleStart?: number
  readonly _idleTimeout?: number
}

/**
 * Stops reading a connection in this very turn. `socket.pause()` does it by the listeners of http, which are gone
 * where the application has listeners for 'data' of its own; so the handle is stopped besides.
 * @returns starts it again
 */
export function stopHandle(socket: Socket): () => void {
  const { _handle: handle } = socket as { _handle?: ReadableHandle | null }
  socket.pause()
  if (handle?.reading) {
    handle.reading = false
    handle.readStop()
  }
  return () => startHandle(socket)
}

/**
 * Reads a connection (again), whoever had stopped that: behind an http parser the stream believes that it is being
 * read, and `socket.resume()` alone starts nothing.
 */
export function startHandle(socket: Socket): void {
  const { _handle: handle } = socket as { _handle?: ReadableHandle | null }
  socket.resume()
  if (handle != null && !handle.reading && !socket.destroyed) {
    handle.reading = true
    handle.readStart()
  }
}

interface ReadableHandle {
  reading: boolean
  readStart(): void
  readStop(): void
}

/** What decides whose sessions a TLS server takes for its own, besides its ticket keys. */
export interface SessionSettings {
  /** Whether the application has given the ticket keys as an option. */
  readonly hasOwnTicketKeys: boolean
  readonly sessionIdContext: string
  /** What it is to accept a client's certificate; null if it asks for none. */
  readonly clients: object | null
}

/**
 * A TLS server keeps its options as properties: `Server` and `setSecureContext` in lib/internal/tls/wrap.js (Node.js
 * 20: lib/_tls_wrap.js).
 * @returns undefined where they are missing, or name by name others may apply; no session is then resumed
 */
export function sessionSettings(server: TlsServer): SessionSettings | undefined {
  const { ticketKeys, sessionIdContext, requestCert, rejectUnauthorized, ca, crl, pfx, _contexts } =
    server as unknown as TlsServerOptions
  if (typeof sessionIdContext !== 'string' || typeof requestCert !== 'boolean') return undefined
  const hasOwnTicketKeys = ticketKeys !== undefined
  if (!requestCert) return { hasOwnTicketKeys, sessionIdContext, clients: null }
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'snicallback')
  const hasNames =
    symbol === undefined ||
    (server as unknown as Record<symbol, unknown>)[symbol] != null ||
    _contexts?.length !== 0
  if (hasNames) return undefined
  return { hasOwnTicketKeys, sessionIdContext, clients: [rejectUnauthorized, ca, crl, pfx] }
}

interface TlsServerOptions {
  readonly ticketKeys?: unknown
  readonly sessionIdContext?: unknown
  readonly requestCert?: unknown
  readonly rejectUnauthorized?: unknown
  readonly ca?: unknown
  readonly crl?: unknown
  readonly pfx?: unknown
  /** Of `addContext()`. */
  readonly _contexts?: readonly unknown[]
}

/**
 * What `tls.createSecureContext({ sessionIdContext })` does, for a server that has its context already: the public
 * `setSecureContext()` would want all of the application's options again.
 */
export function setSessionIdContext(server: TlsServer, sessionIdContext: string): void {
  const internal = server as unknown as {
    sessionIdContext: string
    _sharedCreds?: { context?: { setSessionIdContext?(value: string): void } }
  }
  const context = internal._sharedCreds?.context
  if (typeof context?.setSessionIdContext !== 'function') return // nobody resumes, then
  context.setSessionIdContext(sessionIdContext)
  internal.sessionIdContext = sessionIdContext
}

/**
 * Writes a frame to an HTTP/2 session past Node.js, straight to its descriptor: whatever the session has written ends
 * with a frame, and where nothing of it is queued, this one comes in order. `socket.write()` would end the process, as
 * the native session takes the end of any write for one of its own (CHECK(is_write_in_progress()) in
 * src/node_http2.cc).
 * @returns whether it is written; never over TLS, which has no such descriptor
 */
export function writeAtOnce(session: ServerHttp2Session, frame: Buffer): boolean {
  const { _handle: handle } = session.socket as unknown as {
    _handle?: { fd?: number; writeQueueSize?: number } | null
  }
  if (handle?.fd === undefined || handle.fd < 0 || handle.writeQueueSize !== 0) return false
  try {
    const written = writeSync(handle.fd, frame)
    if (written < frame.length) session.destroy()
    return true
  } catch {
    return false // EAGAIN, or the connection is gone
  }
}

/**
 * The streams of an HTTP/2 session that are open now, as the list goes on to say.
 * @returns undefined where Node.js hides it
 */
export function openStreams(session: ServerHttp2Session): OpenStreams | undefined {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'state')
  const state =
    symbol && (session as unknown as Record<symbol, { streams?: OpenStreams } | undefined>)[symbol]
  return typeof state?.streams?.size === 'number' ? state.streams : undefined
}

export interface OpenStreams {
  readonly size: number
  values(): Iterable<ServerHttp2Stream>
}
