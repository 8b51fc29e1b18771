import type { DrainReason } from '../drain/report.js'
import type { Relay } from '../handover/offer.js'

/** Why, and for whom, something goes: a whole generation, or an instance by itself. What is drained goes by it. */
export interface Departure {
  readonly reason: DrainReason
  /** Takes connections to the next generation. */
  readonly relay: Relay | undefined
  /** Its connections go as fast as they can: the process that takes them is warmed up. */
  readonly isUrgent: boolean
  /** It has been asked for again. That nobody follows is never taken back. */
  askedAgain(reason: DrainReason): void
}

export function createDeparture(first: DrainReason, relay?: Relay, isUrgent = false): Departure {
  let reason = first
  return {
    get reason() {
      return reason
    },
    relay,
    isUrgent,
    askedAgain(given) {
      if (given === 'close') reason = given
    }
  }
}
