import type { Socket } from 'node:net'
import { createDeferred } from '../time/deferred.js'
import { RequestFailure } from './failure.js'
import { isFriendly, pause, type Stay, type StayWitness } from './stay.js'
import { connectOptions, type Target } from './target.js'
import type { Undici } from './undici.js'

/** How long the answer to a close frame is waited for, in milliseconds. */
const goodbyeTime = 500

/**
 * Keeps WebSockets open; one that is closed comes again.
 * @param signal closes them
 */
export async function keepWebSockets(
  { Agent, buildConnector, WebSocket }: Pick<Undici, 'Agent' | 'buildConnector' | 'WebSocket'>,
  target: Target,
  path: string,
  stay: Stay,
  witness: StayWitness,
  signal: AbortSignal
): Promise<void> {
  const sockets = new Set<Socket>()
  const connect = buildConnector(connectOptions(target))
  const dispatcher = new Agent({
    connect: (options, callback) =>
      connect(options, (...result) => {
        const [, socket] = result
        if (socket !== null) sockets.add(socket.on('close', () => sockets.delete(socket)))
        callback(...result)
      })
  })
  signal.addEventListener('abort', () => setTimeout(destroyAll, goodbyeTime))
  await Promise.all(Array.from({ length: stay.clients }, keepOne))
  await dispatcher.destroy()

  /** Of a server that doesn't answer a close frame. */
  function destroyAll(): void {
    for (const socket of sockets) socket.destroy()
  }

  async function keepOne(): Promise<void> {
    while (!signal.aborted) {
      await once()
      await pause(signal)
    }
  }

  function once(): Promise<void> {
    const { promise, resolve } = createDeferred()
    const began = performance.now()
    const socket = new WebSocket(target.origin.replace(/^http/, 'ws') + path, { dispatcher })
    let isOpen = false
    const close = () => socket.close()
    signal.addEventListener('abort', close)
    socket.addEventListener('open', () => {
      isOpen = true
      stay.opened++
    })
    socket.addEventListener('message', () => stay.received++)
    socket.addEventListener('close', ({ code }) => {
      signal.removeEventListener('abort', close)
      if (!signal.aborted) note(isOpen, String(code), began)
      resolve()
    })
    return promise
  }

  function note(wasOpen: boolean, code: string, began: number): void {
    if (!wasOpen)
      return witness.lost(stay.name, new RequestFailure('handshake', 'it could not be opened'), began)
    stay.closed[code] = (stay.closed[code] ?? 0) + 1
    if (isFriendly(code)) return
    const kind = code === '1006' ? 'eof' : 'other'
    witness.lost(stay.name, new RequestFailure(kind, `it was closed with ${code}`), began)
  }
}
