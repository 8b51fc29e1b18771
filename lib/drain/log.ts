import type { ConnectionCounts } from '../connections/state.js'
import type { HandoverReport } from '../handover/handover.js'
import type { Log } from '../log.js'
import type { HoldUp } from './hold-up.js'
import { type DrainReason, type DrainReport, nameCut, totalFate } from './report.js'

/** What a drain says of itself. */
export interface DrainLog {
  /** Behind the first sweep, and no other. */
  began(counts: ConnectionCounts): void
  /** Behind any sweep, from time to time. */
  goesOn(counts: ConnectionCounts): void
  timedOut(counts: ConnectionCounts): void
  cutsDetached(count: number, cutOff: readonly HoldUp[]): void
  /** Only if it had something to do. */
  drained(ms: number, report: DrainReport, handover: HandoverReport | undefined): void
}

/** Pause between two log lines about the same drain, in milliseconds. */
const logInterval = 5_000

export interface DrainLogOptions {
  readonly log: Log
  readonly reason: () => DrainReason
  /** How many connections there were when it began. */
  readonly total: number
  /** What it waits for. */
  heldUpBy(): readonly HoldUp[]
}

export function createDrainLog({ log, reason, total, heldUpBy }: DrainLogOptions): DrainLog {
  const start = performance.now()
  let logged = start
  /** What the first sweep has found. */
  let first: ConnectionCounts | undefined
  return {
    began(connections) {
      if (first !== undefined) return
      first = connections
      if (held(connections) > 0) log.info({ reason: reason(), connections, ...names() }, 'draining')
    },
    goesOn(connections) {
      if (performance.now() - logged < logInterval) return
      logged = performance.now()
      log.info({ reason: reason(), connections, ms: time(), ...names() }, 'draining')
    },
    timedOut(connections) {
      log.warn(
        { reason: reason(), connections, ms: time(), ...names() },
        'drain timed out, cutting connections'
      )
    },
    cutsDetached(detached, cutOff) {
      log.warn({ reason: reason(), detached, ...nameCut(cutOff) }, 'cutting detached connections')
    },
    drained(ms, { kinds, cutOff }, handover) {
      const { kept = 0, finished, told, cut } = totalFate({ kinds })
      if (total === 0 || (first !== undefined && held(first) === 0 && told + kept === 0)) return
      const moves = { ...handover, ...(kept > 0 && { kept }) }
      log.info({ reason: reason(), ms, ...moves, finished, told, cut, ...nameCut(cutOff), kinds }, 'drained')
    }
  }

  function names(): object {
    const names = heldUpBy()
    return names.length === 0 ? {} : { heldUpBy: names }
  }

  function time(): number {
    return Math.round(performance.now() - start)
  }
}

/** How many connections hold up a drain. */
export function held({ fresh, idle, active }: ConnectionCounts): number {
  return fresh + idle + active
}
