import type { Socket } from 'node:net'
import type { Connections } from '../connections/connections.js'
import { type WebSocket, webSocketOf } from '../internals/ws.js'
import { pause } from '../time/pause.js'

/** RFC 6455, 7.4 and its registry: why a server ends a WebSocket. */
const closeCodes = {
  upgrade: [1012, 'service restart'],
  close: [1001, 'going away']
} as const

/** `WebSocket.OPEN` */
const open = 1

export interface WebSocketsOptions {
  readonly reason: () => keyof typeof closeCodes
  /** Time over which they are told, in milliseconds: clients that come again at one instant are a flood. */
  readonly spreadTime: number
  /** Nobody is told before. */
  readonly begin: Promise<unknown>
  /** Ends the wait: whoever is left then is told at once. */
  readonly signal: AbortSignal
  /** Whether it goes to another process: it isn't told as long as it may. */
  readonly isSpared?: (socket: Socket) => boolean
  onTold(socket: Socket): void
}

export interface EndingWebSockets {
  /** Resolves when those have been told that were there in the beginning. */
  readonly firstTold: Promise<void>
  /** Tells those whose handshake was not over then. */
  tellLate(): void
  /** The same from time to time, with so many milliseconds between, until all connections are gone. */
  keepTelling(interval: number, gone: Promise<unknown>): void
}

/**
 * Tells the WebSockets of these servers to come again: a close frame with 1012 on an upgrade, 1001 on a shutdown, as
 * `ws` sends it behind all messages. The client answers, and `ws` ends the connection; or the drain cuts it.
 */
export function endWebSockets(
  servers: Iterable<Connections>,
  { reason, spreadTime, begin, signal, isSpared = () => false, onTold }: WebSocketsOptions
): EndingWebSockets {
  const lists = [...servers]
  let isLate = false
  return {
    firstTold: tellFirst(),
    tellLate,
    keepTelling(interval, gone) {
      const timer = setInterval(tellLate, interval)
      void gone.then(() => clearInterval(timer))
    }
  }

  async function tellFirst(): Promise<void> {
    await begin
    const begun = performance.now()
    const sockets = openSockets()
    for (const [index, socket] of sockets.entries()) {
      const wait = begun + (spreadTime * index) / sockets.length - performance.now()
      if (wait > 1) await pause(wait, signal)
      tell(socket)
    }
    isLate = true
  }

  function tellLate(): void {
    if (!isLate) return
    for (const socket of openSockets()) tell(socket)
  }

  function openSockets(): Socket[] {
    return lists
      .flatMap(({ sockets }) => [...sockets])
      .filter(socket => openOf(socket) !== undefined && !isSpared(socket))
  }

  function tell(socket: Socket): void {
    const webSocket = openOf(socket)
    if (webSocket === undefined || isSpared(socket)) return // it has gone meanwhile, or will go elsewhere
    const [code, text] = closeCodes[reason()]
    webSocket.close(code, text)
    onTold(socket)
  }
}

function openOf(socket: Socket): WebSocket | undefined {
  const webSocket = webSocketOf(socket)
  return webSocket?.readyState === open ? webSocket : undefined
}
