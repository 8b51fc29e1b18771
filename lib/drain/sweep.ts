import { type Connection, connectionOf } from '../connections/connection.js'
import type { Connections } from '../connections/connections.js'
import { closeLingering, isLingering } from '../connections/ending.js'
import { createRecheck } from '../connections/recheck.js'
import type { ConnectionCounts, ConnectionState } from '../connections/state.js'
import type { Handover } from '../handover/handover.js'
import type { Mover } from '../kept/mover.js'
import { wholeTurn } from '../time/event-loop.js'
import { pause } from '../time/pause.js'
import type { DrainReason } from './report.js'
import { createShare } from './share.js'
import type { Tally } from './tally.js'

/** Looks at the connections of a drain, again and again, and ends or gives away what it may. */
export interface Sweeper {
  /** Looks at all. Lets requests be answered meanwhile, if it takes its time. @returns what it has found */
  sweepAll(): Promise<ConnectionCounts>
  /** Resolves when it is time for the next sweep: Go's schedule, from 1 ms to `pollInterval`. */
  pause(): Promise<void>
  /** A response has ended: its connection may be idle now, and not for long. */
  answered(connection: Connection): void
  /** A connection has ended, the last one maybe. */
  ended(): void
}

export interface SweeperOptions {
  readonly lists: readonly Connections[]
  readonly handover: Handover | undefined
  readonly mover?: Pick<Mover, 'consider'> | undefined
  readonly tally: Pick<Tally, 'see'>
  readonly reason: () => DrainReason
  /** Time over which idle connections that don't move are ended, in milliseconds. */
  readonly idleSpreadTime: number | false
  /** Longest pause between two sweeps, in milliseconds. */
  readonly pollInterval: number
  /** No pause goes beyond it: `performance.now()`. */
  readonly deadline: number
  /** Nothing is looked at any more. */
  readonly over: AbortSignal
  /** Between two sweeps no connection was left. */
  onEmpty(): void
}

/** A connection on which nothing has come after this time counts as idle (milliseconds), as in Go. */
const freshTimeout = 5_000

/** Time for which a look at all connections holds up requests, in milliseconds: then it makes a pause for them. */
const longestTurn = 1

export function createSweeper(options: SweeperOptions): Sweeper {
  const { lists, handover, mover, tally, reason, idleSpreadTime, pollInterval, deadline, over, onEmpty } =
    options
  const start = performance.now()
  const share = createShare(idleSpreadTime)
  const recheck = createRecheck(recheckAnswered, over)
  let nextPause = 1

  return {
    sweepAll,
    async pause() {
      const wait = Math.min(nextPause + (Math.random() * nextPause) / 10, deadline - performance.now())
      nextPause = Math.min(nextPause * 2, pollInterval)
      await pause(wait, over)
      await wholeTurn() // a process that stood still reads first what has come meanwhile: it is no idle connection's
    },
    answered(connection) {
      if (mayMove(connection)) return void handover?.answered(connection)
      recheck.add(connection)
      recheck.schedule()
    },
    ended: recheck.schedule
  }

  async function sweepAll(): Promise<ConnectionCounts> {
    const counts = { fresh: 0, idle: 0, active: 0, detached: 0 }
    const ending = share()
    let turnEnd = performance.now() + longestTurn
    for (const list of lists) {
      for (const [socket, state] of list.states()) {
        look(connectionOf(socket), state, ending)
        counts[isLingering(socket) ? 'active' : state]++ // until it has closed
        if (performance.now() < turnEnd) continue
        await wholeTurn()
        if (over.aborted) return counts
        turnEnd = performance.now() + longestTurn
      }
    }
    return counts
  }

  /** @param ending what share of those that are over is ended now */
  function look(connection: Connection, state: ConnectionState, ending: number): void {
    tally.see(connection, state)
    mover?.consider(connection)
    if (!mayEnd(connection, state)) {
      if (mayMove(connection)) handover?.consider(connection, state)
    } else if (Math.random() < ending) closeLingering(connection.socket)
  }

  /** Those that move are not among them. */
  function recheckAnswered(states: Iterable<readonly [Connection, ConnectionState]>): void {
    for (const [connection, state] of states) {
      if (idleSpreadTime === false && mayEnd(connection, state)) closeLingering(connection.socket)
    }
    if (lists.every(({ sockets }) => sockets.size === 0)) onEmpty()
  }

  /** Whether a connection is over: nothing is under way on it, and it neither moves nor is waited for. */
  function mayEnd(connection: Connection, state: ConnectionState): boolean {
    const isOver = state === 'idle' || (state === 'fresh' && performance.now() - start >= freshTimeout)
    if (!isOver || connection.phase.name === 'away') return false
    return reason() === 'close' || (idleSpreadTime !== false && !mayMove(connection))
  }

  /** Whether a connection goes to another process when it can, be it later. */
  function mayMove(connection: Connection): boolean {
    return handover !== undefined && reason() === 'upgrade' && !handover.staysHere(connection)
  }
}
