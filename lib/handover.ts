import type http from 'node:http'
import type { Server, Socket } from 'node:net'
import { idleTimeLeft, isMovable } from './connections.js'
import { isLingering } from './lingering-close.js'
import type { Log } from './log.js'
import {
  connectionHandle,
  currentResponse,
  isFlushed,
  stopHandle,
  tellsConnectionsAtRest
} from './node-internals.js'
import { longestTime } from './options.js'
import type { ListenerAddress, OfferAnswer, Relay } from './protocol.js'
import { silenceRequestTimeout } from './request-timeout.js'

/**
 * Gives the connections of a draining generation to the next one, open. At every instant exactly one process reads
 * a connection: the old one stops in the same turn in which nothing is under way on it, and what a client sends
 * from then on waits in the system until the new one reads.
 */
export interface Handover {
  /**
   * Lets a connection go when its turn comes, if it is still at rest then.
   * @param soon before others: it has just become idle, and may not be so for long
   */
  consider(server: Server, socket: Socket, state: 'idle' | 'fresh', soon: boolean): void
  /** Whether another process may read it: this one may close it, and do nothing else to it. */
  isAway(socket: Socket): boolean
  /** Whether it may go yet: not so if it was refused, or nobody is there to take connections. */
  mayTake(socket: Socket): boolean
  /** Whether the next one can go now: there is no use in looking for it before. */
  isReady(): boolean
  readonly report: HandoverReport
}

export interface HandoverOptions {
  readonly relay: Relay
  readonly addressOf: (server: Server) => ListenerAddress | undefined
  /** How many connections there are, of all kinds. */
  readonly total: number
  /** Longest time of the whole drain, in milliseconds. */
  readonly drainTimeout: number
  /** Whether connections may wait for their turn: not where their next response closes them. */
  readonly slowStart: boolean
  /** The next one can go, and none is known. */
  readonly onReady: () => void
}

export interface HandoverReport {
  readonly moved: number
  readonly refused: number
  /** The longest time in which nobody read a connection, in milliseconds, and at most so long. */
  readonly longestPause: number
}

/** A connection that was at rest when this many bytes had been read from it. */
interface Candidate {
  readonly server: Server
  readonly state: 'idle' | 'fresh'
  readonly bytesRead: number
}

/** How many connections are on their way at once. Handles travel one by one: with more of them each waits longer. */
const offerWindow = 2
/**
 * Time until all connections may have been offered with `slowStart`, in milliseconds. Their number rises with the square
 * of the time: the code of a process that has just started is slow until it is compiled, and must not meet the whole load.
 */
const slowStartTime = 1_000

/** @returns undefined where none of these servers has connections that can be moved */
export function prepareHandover(
  servers: readonly Server[],
  options: HandoverOptions,
  log: Log
): Handover | undefined {
  const movable = servers.filter(isMovable)
  if (movable.length === 0) return undefined
  if (movable.every(tellsConnectionsAtRest)) return createHandover(options)
  log.warn(
    'this version of Node.js hides what handover needs: each connection waits for one more request instead'
  )
  return undefined
}

function createHandover(options: HandoverOptions): Handover {
  const { relay, addressOf, total, drainTimeout, slowStart, onReady } = options
  const first = new Map<Socket, Candidate>()
  const rest = new Map<Socket, Candidate>()
  const away = new Set<Socket>()
  const refused = new WeakSet<Socket>()
  const report = { moved: 0, refused: 0, longestPause: 0 }
  const start = performance.now()
  const startTime = slowStart ? Math.min(slowStartTime, drainTimeout / 2) : 0
  let offered = 0
  let isOpen = true
  let timer: NodeJS.Timeout | undefined

  return {
    consider(server, socket, state, soon) {
      if (away.has(socket) || refused.has(socket)) return
      // In one queue at most: a connection that is offered twice is read by two.
      if (soon) rest.delete(socket)
      const queue = soon || first.has(socket) ? first : rest
      queue.set(socket, { server, state, bytesRead: socket.bytesRead })
      if (isReady()) pump()
    },
    isAway: socket => away.has(socket),
    mayTake: socket => isOpen && !refused.has(socket),
    isReady,
    report
  }

  function isReady(): boolean {
    return away.size < offerWindow && timer === undefined
  }

  function pump(): void {
    while (isReady()) {
      const wait = start + startTime * Math.sqrt(offered / total) - performance.now()
      if (wait > 0) {
        timer = setTimeout(onTime, wait)
        return
      }
      const next = nextCandidate()
      if (next === undefined) return onReady()
      offered++
      void offer(...next)
    }
  }

  function onTime(): void {
    timer = undefined
    pump()
  }

  function nextCandidate(): [Socket, Candidate] | undefined {
    for (const queue of [first, rest]) {
      for (const [socket, candidate] of queue) {
        queue.delete(socket)
        if (!away.has(socket) && isStillAtRest(socket, candidate)) return [socket, candidate]
      }
    }
    return undefined
  }

  async function offer(socket: Socket, { server, state }: Candidate): Promise<void> {
    const handle = connectionHandle(socket)
    const listener = addressOf(server)
    if (handle === undefined || listener === undefined) return void refused.add(socket)
    const { keepAliveTimeout } = server as http.Server // 0: it may stay idle for ever
    const idleTime = state === 'fresh' ? null : (idleTimeLeft(socket) ?? (keepAliveTimeout || longestTime))
    away.add(socket)
    const begun = performance.now()
    const resume = stopReading(socket, state)
    const answer = await relay({ listener, idleTime }, handle)
    away.delete(socket)
    report.longestPause = Math.max(report.longestPause, Math.ceil(performance.now() - begun))
    isOpen = answer === 'adopted' || answer === 'refused'
    settle(socket, answer, resume)
    pump()
  }

  function settle(socket: Socket, answer: OfferAnswer, resume: () => void): void {
    switch (answer) {
      case 'adopted':
        report.moved++
        socket.destroy() // closes this process's descriptor; no shutdown, which would act on the one socket of both
        return
      case 'lost':
        socket.destroy() // it lives on in the new generation, or is closed by the last one that has it
        return
      case 'refused':
        report.refused++
        refused.add(socket)
        return resume()
      case 'unavailable':
        return resume() // the next sweep tries again
    }
  }
}

/** It was at rest, and not a byte has come or gone since. */
function isStillAtRest(socket: Socket, { bytesRead }: Candidate): boolean {
  return (
    socket.bytesRead === bytesRead &&
    currentResponse(socket) === undefined &&
    isFlushed(socket) &&
    !isLingering(socket) &&
    !socket.destroyed
  )
}

/**
 * Stops reading at once, and keeps this process from acting on the connection: no timer may end it, and no
 * server write a 408 to it.
 * @returns takes all that back
 */
function stopReading(socket: Socket, state: 'idle' | 'fresh'): () => void {
  const { timeout } = socket
  socket.setTimeout(0)
  // An idle connection's parser doesn't count the time, except where it has never parsed anything.
  const listen = state === 'fresh' || socket.bytesRead === 0 ? silenceRequestTimeout(socket) : undefined
  const startReading = stopHandle(socket)
  return function resume() {
    listen?.()
    if (timeout) socket.setTimeout(timeout)
    startReading()
  }
}
