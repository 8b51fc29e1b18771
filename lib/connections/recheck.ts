import { afterReading } from '../time/event-loop.js'
import type { Connection } from './connection.js'
import { statesOf } from './connections.js'

/**
 * Looks at connections again that have just been answered: they may be idle now, and not for long. Many may be answered
 * at once, and the list of those at rest is long: one look serves all, and takes no more than a tenth of the time.
 */
export interface Recheck {
  /** One that the next look is for. */
  add(connection: Connection): void
  /** Whether a look would be for any. */
  isWanted(): boolean
  /** Looks in a moment, also if it is for none. */
  schedule(): void
}

/**
 * @param look what they are doing at that moment
 * @param over nobody looks any more
 */
export function createRecheck(
  look: (states: ReturnType<typeof statesOf>) => void,
  over?: AbortSignal
): Recheck {
  const answered = new Set<Connection>()
  let isScheduled = false
  let lookTime = 0
  return {
    add: connection => void answered.add(connection),
    isWanted: () => answered.size > 0,
    schedule() {
      if (isScheduled) return
      isScheduled = true
      const wait = lookTime * 10
      if (wait < 1) setImmediate(lookNow)
      else afterReading(wait, lookNow)
    }
  }

  function lookNow(): void {
    isScheduled = false
    if (over?.aborted) return
    const some = [...answered]
    answered.clear()
    const begun = performance.now()
    look(statesOf(some))
    lookTime = performance.now() - begun
  }
}
