import type { Socket } from 'node:net'
import { type Exchange, watchResponses } from '../connections/exchanges.js'
import type { Relay } from '../handover/offer.js'
import type { Listeners } from '../listeners/listeners.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import type { Tally } from '../protocol/probation.js'
import type { Application } from './application.js'
import { createGiver, type Giver } from './giver.js'
import { watchSelfCheck } from './self-check.js'

/** What speaks against this generation while it is on probation. */
export interface Judges {
  /** A request was answered with 5xx. */
  onErred(): void
  /** Its own check fails, which is asked again each second. */
  onCheckFailure(failure: CheckFailure): void
}

/** What this process does while another generation serves beside it. */
export interface Beside {
  /** 'candidate': it is on probation itself; 'current': the other one is. Undefined while it serves alone. */
  readonly role: 'candidate' | 'current' | undefined
  probe(judges: Judges): void
  /**
   * @param share the part of the connections of this process that the other one gets, from 0 to 1; none with `handover: false`
   * @param relay leads there
   */
  give(share: number, relay: Relay): void
  /** Resolves when all that was given has arrived. */
  over(): Promise<unknown>
  /** What was answered since that began. */
  tally(): Tally
}

/** Nothing of this runs per request while one generation serves alone. */
export function createBeside(
  listeners: Listeners,
  application: Pick<Application, 'instances' | 'options'>
): Beside {
  let role: Beside['role']
  let giver: Giver | undefined
  let onErred = () => {}
  let [stopChecking, stopCounting] = [() => {}, () => {}]
  let count = createCount()
  return {
    get role() {
      return role
    },
    probe(judges) {
      begin('candidate', judges.onErred)
      stopChecking = watchSelfCheck(application, judges.onCheckFailure)
    },
    give(share, relay) {
      begin('current', () => {})
      giver = createGiver({ relay, listeners, share: application.options.handover === false ? 0 : share })
    },
    async over() {
      role = undefined
      stopChecking()
      stopCounting()
      const stopped = giver?.stop()
      giver = undefined // now: there may be another one before this one has stopped
      await stopped
    },
    tally: () => count.tally()
  }

  function begin(given: Beside['role'], call: () => void): void {
    void giver?.stop()
    giver = undefined
    role = given
    onErred = call
    count = createCount()
    stopCounting()
    stopCounting = watchResponses(exchange => count.add(exchange) && onErred())
  }
}

/** What one generation answers while another one serves beside it. */
function createCount() {
  let [responses, errors, connections, erring] = [0, 0, 0, 0]
  const [answered, failed] = [new WeakSet<Socket>(), new WeakSet<Socket>()]
  return {
    tally: () => ({ responses, errors, connections, erring }),

    /** @returns whether it is an error */
    add({ response, socket }: Exchange): boolean {
      responses++
      if (!answered.has(socket)) connections++
      answered.add(socket)
      if (response.statusCode < 500) return false
      errors++
      if (!failed.has(socket)) erring++
      failed.add(socket)
      return true
    }
  }
}
