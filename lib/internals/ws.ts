/**
 * `socket[Symbol(websocket)]`, the mark of the package `ws`. Where it is missing, as of another library, the application
 * is told by `onDrain` and `signal` alone, and the connection is cut at the deadline.
 */
import type { Socket } from 'node:net'
import { hasParser } from './http1.js'

/** What is used of a WebSocket of the package `ws`, which @fastify/websocket and most others are made of. */
export interface WebSocket {
  readonly readyState: number
  close(code: number, reason: string): void
}

/** `ws` marks a socket with its WebSocket, and has no list of those that were made with `noServer`. */
export function webSocketOf(socket: Socket): WebSocket | undefined {
  if (hasParser(socket)) return undefined // still HTTP/1.1
  const mark = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'websocket')
  const marked = mark && (socket as unknown as Record<symbol, Partial<WebSocket> | undefined>)[mark]
  return typeof marked?.close === 'function' && typeof marked.readyState === 'number'
    ? (marked as WebSocket)
    : undefined
}
