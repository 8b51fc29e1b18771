/**
 * `socket._httpMessage` and `socket.parser`: what HTTP/1.1 does on a connection. Where there is no parser a connection
 * counts as detached: it is neither given away nor ended before the deadline.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

interface HttpParser {
  readonly incoming?: IncomingMessage | null
  onIncoming?: ((this: unknown, ...args: unknown[]) => unknown) | null
}

/** The response that is being written to a connection now: `socket._httpMessage`. */
export function currentResponse(socket: Socket): ServerResponse | undefined {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined
}

/** The newest request whose head has been read from a connection: `parser.incoming`; null when it is answered. */
export function newestRequest(socket: Socket): IncomingMessage | null | undefined {
  return (socket as { parser?: HttpParser | null }).parser?.incoming
}

/**
 * Calls when the head of the next request of a connection has been read, before Node.js acts on it: it calls
 * `parser.onIncoming`, which connectionListenerInternal in lib/_http_server.js has set. Later requests are not touched.
 * @returns false where there is no such thing
 */
export function onNextRequest(socket: Socket, call: (request: IncomingMessage) => void): boolean {
  const { parser } = socket as { parser?: HttpParser | null }
  const onIncoming = parser?.onIncoming
  if (parser == null || typeof onIncoming !== 'function') return false
  parser.onIncoming = function (...args) {
    parser.onIncoming = onIncoming
    call(args[0] as IncomingMessage)
    return onIncoming.apply(this, args)
  }
  return true
}

/** The head of a response as it was written, and maybe not sent yet: `response._header`. */
export function writtenHead(response: ServerResponse): string | undefined {
  return (response as { _header?: string | null })._header ?? undefined
}

/**
 * The same once it was sent. After `writeHead()` it waits for the first bytes of the body, though
 * `headersSent` is true.
 * @returns undefined while it has not been sent: one that is written goes out now
 */
export function sentHead(response: ServerResponse): string | undefined {
  const head = writtenHead(response)
  if (head === undefined) return undefined
  if ((response as { _headerSent?: boolean })._headerSent) return head
  response.flushHeaders()
  return undefined
}

/** Whether an HTTP parser still reads a connection: not so after an upgrade (WebSocket) or CONNECT. */
export function hasParser(socket: Socket): boolean {
  return (socket as { parser?: HttpParser | null }).parser != null
}

/**
 * Takes what comes on a connection away from its parser. Where Node.js feeds that from the handle itself it ends this
 * with the first listener for 'data': http has its own `socket.on`, `socketListenerWrap` in lib/_http_server.js. Where
 * there is no parser it is the application that reads no more.
 */
export function readInstead(socket: Socket, onData: (chunk: Buffer) => void): void {
  socket.removeAllListeners('data')
  socket.on('data', onData)
}
