import type { Listeners } from '../listeners/listeners.js'
import { createDeferred } from '../time/deferred.js'
import { afterReading } from '../time/event-loop.js'
import type { Application } from './application.js'

/** Tells when a new generation can serve. */
export interface Readiness {
  /** Resolves with the keys of the inherited listeners that the new version doesn't want. */
  readonly ready: Promise<readonly string[]>
  /** Something has happened that may have made it ready. */
  check(): void
  /** The application says so: nothing else will be asked for. */
  declare(): void
}

/**
 * Ready is a generation whose every registered instance listens, and which has asked for every inherited
 * listener. Where an instance is booted but doesn't listen, or a listener is not asked for, nobody can know
 * whether that is still to come: after `claimTimeout` without any news it counts as dropped, and the
 * application can say so earlier. Waiting costs nothing, as the old generation serves meanwhile.
 */
export function watchReadiness(application: Application, listeners: Listeners): Readiness {
  let stopWaiting = () => {}
  const { promise: ready, resolve } = createDeferred<readonly string[]>()
  listeners.on('listening', check)
  listeners.on('claimed', check)
  return { ready, check, declare }

  function check(): void {
    stopWaiting()
    const instances = [...application.instances]
    if (!instances.some(({ state }) => state === 'serving') || !instances.every(({ booted }) => booted))
      return
    if (listeners.wanted().length === 0 && instances.every(({ state }) => state !== 'starting'))
      return declare()
    stopWaiting = afterReading(application.options.claimTimeout, declare)
  }

  function declare(): void {
    stopWaiting()
    listeners.off('listening', check)
    listeners.off('claimed', check)
    resolve(listeners.unclaimed().map(({ key }) => key))
  }
}
