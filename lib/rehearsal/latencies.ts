import type { RecordableHistogram } from 'node:perf_hooks'
import { createHistogram } from 'node:perf_hooks'
import { type Share, type Step, stepTime } from './tally.js'

/** Of answers, in milliseconds; of no answer at all it has none. */
export interface Latencies {
  readonly answers: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly longest: number
}

export function latenciesOf(shares: readonly Share[]): Latencies | undefined {
  const all: RecordableHistogram = createHistogram()
  for (const { latencies } of shares) if (latencies.count > 0) all.add(latencies)
  if (all.count === 0) return undefined
  const at = (percentile: number) => all.percentile(percentile) / 1_000
  return { answers: all.count, p50: at(50), p99: at(99), p999: at(99.9), longest: all.max / 1_000 }
}

/** How it went over time; each list has one number for each step. Latencies in milliseconds, null where nothing was answered. */
export interface Timeline {
  /** Of one step, in milliseconds. */
  readonly step: number
  readonly answers: readonly number[]
  readonly failures: readonly number[]
  readonly p50: readonly (number | null)[]
  readonly p99: readonly (number | null)[]
  readonly longest: readonly (number | null)[]
}

export function timelineOf(steps: readonly Step[]): Timeline {
  const sorted = steps.map(({ took }) => Float64Array.from(took).sort())
  const quantiles = (share: number) =>
    sorted.map(took => (took.length === 0 ? null : hundredths(took[Math.ceil(took.length * share) - 1] ?? 0)))
  return {
    step: stepTime,
    answers: steps.map(({ took }) => took.length),
    failures: steps.map(({ failures }) => failures),
    p50: quantiles(0.5),
    p99: quantiles(0.99),
    longest: quantiles(1)
  }
}

function hundredths(ms: number): number {
  return Math.round(ms * 100) / 100
}
