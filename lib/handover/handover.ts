import type { Server } from 'node:net'
import type { Connection, RestState } from '../connections/connection.js'
import { statesOf } from '../connections/connections.js'
import { createRecheck } from '../connections/recheck.js'
import { isMovable } from '../connections/server-kind.js'
import type { ConnectionState } from '../connections/state.js'
import { canListIdleConnections } from '../internals/idle-list.js'
import type { Log } from '../log.js'
import { give, type Outcome, type Way } from './give.js'
import type { OfferAnswer } from './offer.js'
import { atOnce, type Pace } from './pace.js'
import { createQueue } from './queue.js'

/** Gives connections to another process, one after the other, whoever says which: a drain, for all of a generation. */
export interface Handover {
  /** Gives this one away now, whoever else waits. Undefined if it is not at rest, or stays here. */
  give(connection: Connection): Promise<OfferAnswer | undefined>
  /** Gives it away when its turn comes, if it is at rest, and still is then. */
  consider(connection: Connection, state: ConnectionState): void
  /** It has just been answered. It goes before others if it is at rest now, as it may not be so for long. */
  answered(connection: Connection): void
  /** Whether it could go at once: it doesn't stay here, and there is somebody to take it, as far as is known. */
  canGoNow(connection: Connection): boolean
  /** Whether it can't go, nor later: it is no plain HTTP/1.1, or was refused. */
  staysHere(connection: Connection): boolean
  readonly report: HandoverReport
}

export interface HandoverOptions extends Way {
  readonly pace?: Pace
  /** None goes any more. */
  readonly over?: AbortSignal
}

export interface HandoverReport {
  readonly moved: number
  readonly refused: number
  /** The longest time in which nobody read a connection, in milliseconds, and at most so long. */
  readonly longestPause: number
}

/** Of all that move, in whichever way. */
export function sumMoves(
  idle: HandoverReport | undefined,
  kept: Omit<HandoverReport, 'moved'> | undefined
): HandoverReport | undefined {
  if (idle === undefined || kept === undefined) return idle ?? (kept && { moved: 0, ...kept })
  const longestPause = Math.max(idle.longestPause, kept.longestPause)
  return { moved: idle.moved, refused: idle.refused + kept.refused, longestPause }
}

/** How many connections are on their way at once. Handles travel one by one: with more of them each waits longer. */
const offerWindow = 2

/** @returns undefined where none of these servers has connections that can be moved: one that is fed by another has none */
export function prepareHandover(
  servers: readonly Server[],
  options: HandoverOptions,
  log: Log
): Handover | undefined {
  const movable = servers.filter(server => isMovable(server) && options.addressOf(server) !== undefined)
  if (movable.length === 0) return undefined
  if (movable.every(canListIdleConnections)) return createHandover(options)
  log.warn(
    'this version of Node.js hides what handover needs: each connection waits for one more request instead'
  )
  return undefined
}

export function createHandover({ relay, addressOf, pace = atOnce, over }: HandoverOptions): Handover {
  const way: Way = { relay, addressOf }
  const queue = createQueue()
  const recheck = createRecheck(onRechecked, over)
  const report = { moved: 0, refused: 0, longestPause: 0 }
  let onTheirWay = 0
  /** Whether the last one that was offered has found somebody. */
  let isAnybodyThere = true
  /** Until the pace allows the next one. */
  let timer: NodeJS.Timeout | undefined
  over?.addEventListener('abort', stop)

  return {
    async give(connection) {
      for (const [, state] of statesOf([connection]))
        if (mayGo(connection, state)) return offer(connection, state)
      return undefined
    },
    consider(connection, state) {
      if (!mayGo(connection, state)) return
      queue.add(connection, state, false)
      pump()
    },
    answered(connection) {
      recheck.add(connection)
      if (isReady()) recheck.schedule()
    },
    canGoNow: connection => isAnybodyThere && !staysHere(connection),
    staysHere,
    report
  }

  function stop(): void {
    clearTimeout(timer)
    queue.clear()
  }

  function staysHere({ server, phase }: Connection): boolean {
    if (phase.name === 'staying' && phase.way === way) return true
    return server === undefined || !isMovable(server) || addressOf(server) === undefined
  }

  /** Not if it is being closed here: by its client's end, behind its last response, or by the application. */
  function mayGo(connection: Connection, state: ConnectionState): state is RestState {
    const { name } = connection.phase
    if ((state !== 'idle' && state !== 'fresh') || !connection.socket.writable) return false
    return name !== 'away' && name !== 'ending' && !staysHere(connection)
  }

  /** There is no use in looking for the next one before. */
  function isReady(): boolean {
    return onTheirWay < offerWindow && timer === undefined && !over?.aborted
  }

  function onRechecked(states: ReturnType<typeof statesOf>): void {
    for (const [connection, state] of states) {
      if (mayGo(connection, state)) queue.add(connection, state, true)
    }
    pump()
  }

  function pump(): void {
    while (isReady()) {
      const wait = pace.wait()
      if (wait > 0) {
        timer = setTimeout(onTime, wait)
        return
      }
      const next = queue.next()
      if (next === undefined) {
        if (recheck.isWanted()) recheck.schedule()
        return
      }
      pace.count()
      void offer(...next)
    }
  }

  function onTime(): void {
    timer = undefined
    pump()
  }

  async function offer(connection: Connection, state: RestState): Promise<OfferAnswer | undefined> {
    onTheirWay++
    const outcome = await give(connection, state, way)
    onTheirWay--
    if (outcome !== undefined) settle(outcome)
    pump()
    return outcome?.answer
  }

  function settle({ answer, pause }: Outcome): void {
    report.longestPause = Math.max(report.longestPause, pause)
    isAnybodyThere = answer === 'adopted' || answer === 'refused'
    if (answer === 'adopted') report.moved++
    if (answer === 'refused') report.refused++
    if (answer !== 'unavailable') return
    queue.clear() // nobody is there yet who would take the others: whoever looks at them next tries again
    pace.restart()
  }
}
