/**
 * The descriptor below an HTTP/2 session (`session.socket._handle.fd`) and its list of streams (`session[Symbol(state)]`).
 * Where they are missing a session has one word less of its end: a request that crosses that is one to send again; and what
 * holds up a drain has no name.
 */
import { writeSync } from 'node:fs'
import type { Http2ServerRequest, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'

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

/**
 * The request that a stream has brought, as Node.js's compatible interface, which Fastify is made on, has made one of it:
 * `stream[Symbol(request)]`.
 */
export function requestOf(stream: ServerHttp2Stream): Http2ServerRequest | undefined {
  const symbol = Object.getOwnPropertySymbols(stream).find(({ description }) => description === 'request')
  const request = symbol && (stream as unknown as Record<symbol, Partial<Http2ServerRequest> | null>)[symbol]
  return typeof request?.url === 'string' ? (request as Http2ServerRequest) : undefined
}

export interface OpenStreams {
  readonly size: number
  values(): Iterable<ServerHttp2Stream>
}
