import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connections } from './connections.js'

/** RFC 6455, 7.4 and its registry: why a server ends a WebSocket. */
const closeCodes = {
  upgrade: [1012, 'service restart'],
  close: [1001, 'going away']
} as const

/** What is used of a WebSocket of the package `ws`, which @fastify/websocket and most others are made of. */
interface WebSocket {
  readonly readyState: number
  close(code: number, reason: string): void
}

/** `WebSocket.OPEN` */
const open = 1

export interface WebSocketsOptions {
  readonly reason: () => keyof typeof closeCodes
  /** Time over which they are told, in milliseconds: clients that come again at one instant are a flood. */
  readonly spreadTime: number
  /** Ends the wait: whoever is left then is told at once. */
  readonly signal: AbortSignal
}

/**
 * Tells the WebSockets of these servers to come again: a close frame with 1012 on an upgrade, 1001 on a shutdown, as
 * `ws` sends it behind all messages. The client answers, and `ws` ends the connection; or the drain cuts it.
 * @returns how many were told
 */
export async function endWebSockets(
  servers: Iterable<Connections>,
  { reason, spreadTime, signal }: WebSocketsOptions
): Promise<number> {
  const begun = performance.now()
  const sockets = [...servers].flatMap(({ sockets }) => [...sockets]).filter(socket => openOf(socket))
  let told = 0
  for (const [index, socket] of sockets.entries()) {
    const wait = begun + (spreadTime * index) / sockets.length - performance.now()
    if (wait > 1) await sleep(wait, undefined, { signal }).catch(() => {})
    const webSocket = openOf(socket)
    if (webSocket === undefined) continue // it has gone meanwhile
    const [code, text] = closeCodes[reason()]
    webSocket.close(code, text)
    told++
  }
  return told
}

function openOf(socket: Socket): WebSocket | undefined {
  const webSocket = webSocketOf(socket)
  return webSocket?.readyState === open ? webSocket : undefined
}

/**
 * `ws` marks a socket with its WebSocket, and has no list of those that were made with `noServer`. Where the mark is
 * missing, as of another library, the application is told by `onDrain` and `signal` alone.
 */
function webSocketOf(socket: Socket): WebSocket | undefined {
  const mark = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'websocket')
  const marked = mark && (socket as unknown as Record<symbol, Partial<WebSocket> | undefined>)[mark]
  return typeof marked?.close === 'function' && typeof marked.readyState === 'number'
    ? (marked as WebSocket)
    : undefined
}
