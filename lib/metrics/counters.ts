import type { GracefulUpgradeError } from '../errors.js'
import type { Direction, RestartReason } from '../master/events.js'
import type { Master } from '../master/master.js'

export type UpgradeOutcome = 'success' | 'failed' | 'rolled_back' | 'refused'

/** What becomes of an upgrade in its order: the new generation boots, is on probation, and the old one drains. */
export type UpgradePhase = 'boot' | 'probation' | 'drain'

/** How often something took how long, in milliseconds all together. */
export interface Times {
  count: number
  ms: number
}

/** What has happened since a master began. They are its own: the end of no other process takes anything away from them. */
export interface Counters {
  /** The number of the generation that serves, or served last. */
  generation: number | undefined
  readonly upgrades: Record<UpgradeOutcome, number>
  /** Whether the last upgrade that was begun has succeeded. The first start counts as one that did. */
  isLastSuccessful: boolean
  /** When the last one has succeeded, in milliseconds since 1970. */
  lastSuccess: number | undefined
  readonly durations: Record<UpgradePhase, Times>
  readonly moved: Record<Direction, number>
  readonly restarts: Record<RestartReason, number>
  /** In which nobody read a connection that moved, of the generation that has drained last, in milliseconds. */
  longestPause: number
}

export function noCounters(): Counters {
  const none = (): Times => ({ count: 0, ms: 0 })
  return {
    generation: undefined,
    upgrades: { success: 0, failed: 0, rolled_back: 0, refused: 0 },
    isLastSuccessful: true,
    lastSuccess: undefined,
    durations: { boot: none(), probation: none(), drain: none() },
    moved: { forward: 0, back: 0, sideways: 0 },
    restarts: { died: 0, ended: 0, signal: 0, memory: 0 },
    longestPause: 0
  }
}

/** Those that are no fault of the new version: nothing has begun. */
const refusals: readonly GracefulUpgradeError['code'][] = [
  'GRACEFUL_UPGRADE_IN_PROGRESS',
  'GRACEFUL_UPGRADE_ON_PROBATION',
  'GRACEFUL_UPGRADE_NOT_SERVING',
  'GRACEFUL_UPGRADE_UNSUPPORTED'
]

/** Counts what a master does from now on. */
export function countEvents({ events, serving }: Pick<Master, 'events' | 'serving'>): Counters {
  const counters = noCounters()
  const first = serving()
  if (first !== undefined) serves(first.number)
  events.on('ready', ({ generation }) => {
    const isFirst = counters.generation === undefined
    counters.generation = generation
    if (isFirst) counters.lastSuccess = Date.now()
  })
  events.on('upgraded', ({ ms }) => {
    counters.upgrades.success++
    counters.isLastSuccessful = true
    counters.lastSuccess = Date.now()
    add(counters.durations.boot, ms)
  })
  events.on('notUpgraded', ({ code }) => {
    if (code === 'GRACEFUL_UPGRADE_CLOSING') return // that is the end of the server
    if (refusals.includes(code)) return void counters.upgrades.refused++
    counters.upgrades[code === 'GRACEFUL_UPGRADE_ROLLED_BACK' ? 'rolled_back' : 'failed']++
    counters.isLastSuccessful = false
  })
  events.on('judged', (_candidate, ms) => add(counters.durations.probation, ms))
  events.on('retired', (_old, { report }, ms) => {
    add(counters.durations.drain, ms)
    counters.longestPause = report?.longestPause ?? 0
  })
  events.on('moved', direction => void counters.moved[direction]++)
  events.on('restart', reason => void counters.restarts[reason]++)
  return counters

  function serves(generation: number): void {
    counters.generation = generation
    counters.lastSuccess = Date.now()
  }
}

function add(times: Times, ms: number): void {
  times.count++
  times.ms += ms
}
