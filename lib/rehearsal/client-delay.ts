import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { RunReport } from './report.js'

/** How late the event loop of the clients is: an answer that it has not looked at looks slow. */
export interface ClientDelay {
  /** Forgets what was. */
  reset(): void
  /** Ends it. */
  stop(): RunReport['clientDelay']
}

/** Of the event loop's clock, in milliseconds: it counts as none. */
const resolution = 10

export function watchClientDelay(): ClientDelay {
  const delay = monitorEventLoopDelay({ resolution })
  delay.enable()
  return {
    reset: () => delay.reset(),
    stop() {
      delay.disable()
      return { p99: lateness(delay.percentile(99)), longest: lateness(delay.max) }
    }
  }
}

/** @param nanoseconds between two ticks of a clock @returns milliseconds beyond what they should be */
function lateness(nanoseconds: number): number {
  return Math.max(nanoseconds / 1e6 - resolution, 0)
}
