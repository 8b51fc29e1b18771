import { adopt } from '../handover/adopt.js'
import type { Relay } from '../handover/offer.js'
import { adoptKept } from '../kept/adopt.js'
import type { Listeners } from '../listeners/listeners.js'
import type { Application } from './application.js'

/** Takes what another generation offers to this process; the handle is its own then. */
export function takeInto(
  application: Pick<Application, 'ending' | 'log'>,
  listeners: Pick<Listeners, 'live'>
): Relay {
  return async (offer, handle) => {
    if (application.ending) {
      handle.close()
      return 'unavailable' // the next one may take it
    }
    const { kept } = offer
    const isTaken = kept
      ? adoptKept(listeners.live(), kept, handle, application.log)
      : adopt(listeners.live(), offer, handle)
    return isTaken ? 'adopted' : 'refused'
  }
}
