/** When the next of many connections may go. */
export interface Pace {
  /** In how many milliseconds; not above 0: now. */
  wait(): number
  /** One has gone. */
  count(): void
  /** Begins anew: there is another process that takes them. */
  restart(): void
}

/**
 * Time until all connections may have gone with a slow start, in milliseconds. Their number rises with the square of
 * the time: the code of a process that has just started is slow until it is compiled, and must not meet the whole load.
 */
const slowStartTime = 1_000

/**
 * @param total how many connections there are, of all kinds
 * @param longest time that it may take, in milliseconds
 */
export function slowStart(total: number, longest: number, now: () => number = () => performance.now()): Pace {
  const time = Math.min(slowStartTime, longest)
  let start = now()
  let gone = 0
  return {
    wait: () => start + time * Math.sqrt(gone / total) - now(),
    count: () => void gone++,
    restart() {
      gone = 0
      start = now()
    }
  }
}

/** All as fast as they can. */
export const atOnce: Pace = { wait: () => 0, count() {}, restart() {} }
