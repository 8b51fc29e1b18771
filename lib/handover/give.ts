import type { Server } from 'node:net'
import { type Connection, here, type RestState } from '../connections/connection.js'
import { idleTimeLeft, stopClock } from '../connections/idle-clock.js'
import { silenceRequestTimeout } from '../internals/request-timeout.js'
import { connectionHandle, stopHandle } from '../internals/socket.js'
import type { ListenerAddress } from '../listeners/address.js'
import { longestTime } from '../options/kinds.js'
import type { ConnectionOffer, OfferAnswer, Relay } from './offer.js'

/** The way that connections take to another process. */
export interface Way {
  readonly relay: Relay
  /** What a server listens on; undefined if the other process has no such listener. */
  readonly addressOf: (server: Server) => ListenerAddress | undefined
}

/** What became of a connection that was offered. */
export interface Outcome {
  readonly answer: OfferAnswer
  /** So long nobody read it, in milliseconds, and at most so long. */
  readonly pause: number
}

/**
 * Gives a connection away that is at rest, open. At every instant exactly one process reads it: this one stops in this
 * very turn, and what a client sends from then on waits in the system until the other one reads.
 * @returns undefined if it can't be sent: it stays here then, or has ended here meanwhile
 */
export async function give(connection: Connection, state: RestState, way: Way): Promise<Outcome | undefined> {
  const { socket } = connection
  const handle = connectionHandle(socket)
  const offer = offerOf(connection, state, way)
  if (handle === undefined || offer === undefined) {
    connection.phase = { name: 'staying', way }
    return undefined
  }
  connection.phase = { name: 'away' }
  const begun = performance.now()
  const resume = stopReading(connection, state)
  const answer = await way.relay(offer, handle)
  if (answer === 'refused' && socket.destroyed) return undefined // it was closed before its turn to be sent came
  const pause = Math.ceil(performance.now() - begun)
  settle(connection, answer, way, resume)
  return { answer, pause }
}

function offerOf(
  { server, socket }: Connection,
  state: RestState,
  { addressOf }: Way
): ConnectionOffer | undefined {
  const listener = server && addressOf(server)
  if (listener === undefined) return undefined
  const left = idleTimeLeft(socket)
  if (state === 'idle') return { listener, idleTime: left ?? longestTime }
  return { listener, idleTime: null, ...(left !== undefined && { freshTime: left }) }
}

function settle(connection: Connection, answer: OfferAnswer, way: Way, resume: () => void): void {
  switch (answer) {
    case 'adopted': // closes this process's descriptor; no shutdown, which would act on the one socket of both
      if (connection.note !== undefined) connection.note.hasArrived = true
      connection.socket.destroy()
      return
    case 'lost': // it lives on in another process, or is closed by the last one that has it
      connection.socket.destroy()
      return
    case 'refused':
      if (connection.phase.name === 'away') connection.phase = { name: 'staying', way }
      return resume()
    case 'unavailable':
      if (connection.phase.name === 'away') connection.phase = here
      return resume()
  }
}

/**
 * Stops reading at once, and keeps this process from acting on the connection: no timer may end it, and no
 * server write a 408 to it.
 * @returns takes all that back
 */
function stopReading({ socket }: Connection, state: RestState): () => void {
  const goOn = stopClock(socket)
  // An idle connection's parser doesn't count the time, except where it has never parsed anything.
  const listen = state === 'fresh' || socket.bytesRead === 0 ? silenceRequestTimeout(socket) : undefined
  const startReading = stopHandle(socket)
  return function resume() {
    if (state === 'fresh') listen?.()
    goOn()
    startReading()
  }
}
