import type { Status } from '../control/messages.js'
import { tellGeneration, tellProcess } from '../control/status.js'
import { createMeter } from '../master/meter.js'
import { noCounters } from '../metrics/counters.js'
import { metricsOf } from '../metrics/metrics.js'
import type { Inquire } from '../protocol/inquire.js'
import { now } from '../time/clock.js'
import type { ProcessContext } from './role.js'
import { usage } from './usage.js'

type Here = Pick<ProcessContext, 'generation' | 'team' | 'application' | 'listeners' | 'context'>

/** What a process without a master tells of itself: it doesn't listen yet, or another worker is the master now. */
export function inquireHere(here: Here): Inquire {
  return async about => {
    const status = await statusOf(here)
    return about === 'status' ? status : metricsOf(status, noCounters())
  }
}

async function statusOf({ generation, team, application, listeners, context }: Here): Promise<Status> {
  const isServing = [...application.instances].some(({ state }) => state === 'serving')
  const connections = async () => application.connections()
  const heldUpBy = async () => application.heldUpBy()
  const state = application.ending ? 'draining' : isServing ? 'serving' : 'booting'
  const { pid } = process
  const load = createMeter(async () => usage())
  const worker = { worker: team.worker, pid, state, restarts: 0, connections, heldUpBy, load } as const
  const told = { number: generation, connections, processes: () => [worker] }
  return {
    ...tellProcess('standalone', context.directory),
    state: application.ending ? 'closing' : isServing ? 'serving' : 'starting',
    generations: [await tellGeneration({ generation: told, state, since: now() - process.uptime() * 1_000 })],
    listeners: listeners.live().map(({ key, bound }) => ({ key, bound })),
    upgrades: []
  }
}
