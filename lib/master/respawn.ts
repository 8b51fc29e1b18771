/** When a dead generation is replaced: at once, then after growing pauses, and one day not any more. */
export interface Respawn {
  /** Attempts in a row without a healthy generation. */
  readonly attempts: number
  /** @param time how long one has served that does so no more, however it went, in milliseconds */
  served(time: number): void
  /** Before the next attempt, in milliseconds; undefined where whoever started this process had better know. */
  nextPause(): number | undefined
}

/** In milliseconds; the last one comes again and again. */
const pauses = [0, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000]

const mostAttempts = 12

/** A generation that has served for this long was healthy: the next death starts from the first pause (milliseconds). */
const healthyTime = 10_000

export function createRespawn(): Respawn {
  let attempts = 0
  return {
    get attempts() {
      return attempts
    },
    served(time) {
      if (time >= healthyTime) attempts = 0
    },
    nextPause() {
      return attempts < mostAttempts ? pauses[Math.min(attempts++, pauses.length - 1)] : undefined
    }
  }
}
