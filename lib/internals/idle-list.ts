/**
 * `server[Symbol(http.server.connections)]`: which connections of an HTTP/1.1 server are at rest. Where it is missing
 * none counts as idle, and nothing is given away: `canListIdleConnections()` tells, and the drain warns of it.
 */
import type { Server, Socket } from 'node:net'

// To import it reads each of its exports, and so loads the whole of undici for its WebSocket: a fifth of a start.
const http = process.getBuiltinModule('node:http')

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

/**
 * Makes it known which connections of a server are at rest that never listens itself: Node.js makes the list when a
 * server listens, and here it is one of another server's making. To be called before the server has connections. The
 * timer behind `headersTimeout` doesn't run in such a server, and is not started by this.
 *
 * `setupConnectionsTracking` in lib/_http_server.js; it keeps a list that is there, should the server listen later.
 */
export function trackConnections(server: Server): void {
  if (connectionsList(server) !== undefined) return
  const maker = http.createServer()
  maker.emit('listening')
  maker.close(() => {}) // which ends the timer
  const symbol = connectionsSymbol(maker)
  if (symbol !== undefined) Object.assign(server, { [symbol]: (maker as unknown as ByConnections)[symbol] })
}

/** Whether it is known which connections of a server are at rest. */
export function canListIdleConnections(server: Server): boolean {
  return connectionsList(server) !== undefined
}

function connectionsList(server: Server): ConnectionsList | undefined {
  const symbol = connectionsSymbol(server)
  const list = symbol && (server as unknown as ByConnections)[symbol]
  return typeof list?.idle === 'function' ? (list as ConnectionsList) : undefined
}

function connectionsSymbol(server: Server): symbol | undefined {
  return Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections'
  )
}

type ByConnections = Record<symbol, Partial<ConnectionsList> | undefined>

interface ConnectionsList {
  /** Parsers. */
  idle(): readonly { readonly socket?: Socket }[]
}
