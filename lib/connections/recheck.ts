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
  let scheduled: NodeJS.Timeout | NodeJS.Immediate | undefined
  let lookTime = 0
  return {
    add: connection => void answered.add(connection),
    isWanted: () => answered.size > 0,
    schedule() {
      if (scheduled !== undefined) return
      const wait = lookTime * 10
      scheduled = wait < 1 ? setImmediate(lookNow) : setTimeout(lookNow, wait)
    }
  }

  function lookNow(): void {
    scheduled = undefined
    if (over?.aborted) return
    const some = [...answered]
    answered.clear()
    const begun = performance.now()
    look(statesOf(some))
    lookTime = performance.now() - begun
  }
}
