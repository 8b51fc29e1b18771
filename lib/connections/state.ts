import type { Socket } from 'node:net'
import { currentResponse, hasParser } from '../internals/http1.js'
import { isFlushed } from '../internals/socket.js'
import { webSocketOf } from '../internals/ws.js'
import { wasServed } from './idle-clock.js'

/**
 * What an accepted connection is doing: *fresh*, no byte has been read from it; *idle*, between two requests;
 * *active*, a request is being received or answered; *detached*, no longer HTTP/1.1 (WebSocket, CONNECT) or
 * never (a server of the application's own protocol).
 */
export type ConnectionState = 'fresh' | 'idle' | 'active' | 'detached'

/** How many connections are in each state. */
export type ConnectionCounts = Record<ConnectionState, number>

export function sumCounts(all: readonly ConnectionCounts[]): ConnectionCounts {
  const sum: ConnectionCounts = { fresh: 0, idle: 0, active: 0, detached: 0 }
  for (const counts of all) {
    for (const state of Object.keys(sum) as ConnectionState[]) sum[state] += counts[state]
  }
  return sum
}

export function stateOf(socket: Socket, atRest: ReadonlyMap<Socket, number> | undefined): ConnectionState {
  if (!hasParser(socket)) return socket.destroyed || isShakingHands(socket) ? 'active' : 'detached'
  if (currentResponse(socket) !== undefined) return 'active'
  if (socket.bytesRead === 0) return wasServed(socket) ? 'idle' : 'fresh'
  return atRest?.get(socket) === socket.bytesRead && isFlushed(socket) ? 'idle' : 'active'
}

/**
 * @fastify/websocket makes a response for a request to upgrade, and leaves it on the socket; until there is a
 * WebSocket, hooks and handlers of the request are running.
 */
function isShakingHands(socket: Socket): boolean {
  return currentResponse(socket) !== undefined && webSocketOf(socket) === undefined
}
