import type { Relay } from '../handover/offer.js'
import { readTicketKeys } from '../handover/session-tickets.js'
import type { Listeners } from '../listeners/listeners.js'
import type { Ending, Generation, GenerationProcess } from '../master/generation.js'
import { createMeter } from '../master/meter.js'
import { createDeferred } from '../time/deferred.js'
import type { Application } from './application.js'
import type { Beside } from './beside.js'
import type { Orphans } from './orphans.js'
import { takeInto } from './take.js'
import { termsOf } from './terms.js'
import { usage } from './usage.js'

export interface GenerationHereOptions {
  readonly number: number
  readonly application: Application
  readonly listeners: Listeners
  /** Resolves when it has passed its check; it serves before, too. */
  readonly checked: Promise<void>
  readonly beside: Beside
  /** Takes its connections to the next generation. */
  readonly relay: Relay
  /** A worker has taken over; the drain begins. */
  onRetire(): void
  /** Those that a lost master has left behind, if it is the heir: their end belongs to its own. */
  readonly orphans: Pick<Orphans, 'serve' | 'ended'>
}

/** The application as a master in the same process knows it. */
export function generationHere(
  { number, application, listeners, checked, beside, relay, onRetire, orphans }: GenerationHereOptions,
  host: Pick<NodeJS.Process, 'pid' | 'kill'> = process
): Generation {
  const { pid } = host
  const [draining, ended] = [createDeferred(), createDeferred<Ending>()]
  const connections = async () => application.connections()
  const load = createMeter(async () => usage())
  const heldUpBy = async () => application.heldUpBy()
  const self = { worker: 0, pid, restarts: 0, connections, heldUpBy, load }
  return {
    number,
    isHere: true,
    hasOrphans: orphans.serve,
    processes: () => [{ ...self, state: state() }],
    ready: checked.then(() => []),
    ended: ended.promise,
    dying: new Promise(() => {}), // the process ends with it
    leaving: new Promise(() => {}), // so it does
    draining: draining.promise,
    listeners: () => listeners.open(),
    connections,
    ticketKeys: async () => readTicketKeys(listeners.live()),
    get endTimeout() {
      return application.times.endTimeout
    },
    get probation() {
      return termsOf(application.options)
    },
    probe() {}, // it is the first one
    complete: async () => {},
    beside(share) {
      if (share === null) void beside.over()
      else beside.give(share, relay)
    },
    tally: async () => beside.tally(),
    serve() {},
    alone() {},
    upgrading: value => listeners.upgrading(value),
    async retire(isUrgent) {
      if (beside.role !== undefined) await beside.over()
      onRetire()
      const over = application.end('upgrade', { relay, isUrgent })
      draining.resolve()
      return { ...(await whenOver(over)), report: application.report() }
    },
    close: () => whenOver(application.close(draining.resolve)),
    hurry: application.hurry,
    adopt: takeInto(application, listeners), // of one that was on probation, and is taken back
    signal: signal => void host.kill(pid, signal),
    kill() {}, // who asks for it ends the process
    release() {}
  }

  function state(): GenerationProcess['state'] {
    if (application.ending) return 'draining'
    return application.isClosing ? 'closing' : 'serving'
  }

  async function whenOver(over: Promise<0 | 1>): Promise<Ending> {
    const ending = { code: await over, signal: null }
    await orphans.ended()
    ended.resolve(ending)
    return ending
  }
}
