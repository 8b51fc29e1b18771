/**
 * `socket.server`, by which http says on the server that a request took too long (`onRequestTimeout` in
 * lib/_http_server.js). Where it is missing, nothing is silenced: a connection that is idle for very long ends with a 408.
 */
import type { Server, Socket } from 'node:net'

/**
 * For as long as nothing has been read from a connection, its server doesn't learn that a request of it took too long.
 * Changes what the socket looks like to the optimizing compiler, at some cost to all others: only where needed.
 * @returns takes it back
 */
export function silenceRequestTimeout(socket: Socket): () => void {
  const { server } = socket as { server?: Server }
  const own = Object.getOwnPropertyDescriptor(socket, 'server')
  if (server === undefined || own === undefined || own.get !== undefined) return () => {}
  const quiet = {
    emit: (event: string, ...args: unknown[]) =>
      isRequestTimeout(event, args[0]) || server.emit(event, ...args)
  }
  Object.defineProperty(socket, 'server', {
    configurable: true,
    get: () => (socket.bytesRead === 0 ? quiet : server),
    set(value: unknown) {
      Object.defineProperty(socket, 'server', { configurable: true, writable: true, value })
    }
  })
  return () => Object.defineProperty(socket, 'server', own)
}

function isRequestTimeout(event: string, error: unknown): boolean {
  return event === 'clientError' && (error as NodeJS.ErrnoException).code === 'ERR_HTTP_REQUEST_TIMEOUT'
}
