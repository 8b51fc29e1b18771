import { type Generation, type GenerationProcess, heldUpBy, mainPid } from '../master/generation.js'
import type { Master } from '../master/master.js'
import type { GenerationEntry } from '../master/roster.js'
import { now } from '../time/clock.js'
import { version } from '../version.js'
import type { GenerationStatus, Status, WorkerStatus } from './messages.js'
import { rememberUpgrades } from './upgrade-history.js'

export interface Service {
  readonly master: Master
  readonly mode: Status['mode']
  /** As the shell saw it. */
  readonly directory: string
}

/** @returns tells what a master, and all that it has started, is doing; the last upgrades are remembered from now on */
export function followStatus({ master, mode, directory }: Service): () => Promise<Status> {
  const upgrades = rememberUpgrades(master)
  return async function status() {
    const listeners = master.serving()?.listeners() ?? []
    return {
      ...tellProcess(mode, directory),
      state: master.state,
      generations: await Promise.all(master.generations().map(tellGeneration)),
      listeners: listeners.map(({ key, bound }) => ({ key, bound })),
      balance: master.balance(),
      probation: master.probation(),
      upgrades: upgrades()
    }
  }
}

/** What this process says of itself. */
export function tellProcess(mode: Status['mode'], directory: string) {
  const uptime = Math.round(process.uptime() * 1_000)
  return { pid: process.pid, mode, pluginVersion: version(), directory, uptime }
}

/** What there is to know of one. */
type Told = Omit<GenerationEntry, 'generation'> & {
  readonly generation: Pick<Generation, 'number' | 'processes' | 'connections'>
}

export async function tellGeneration({ generation, state, since }: Told): Promise<GenerationStatus> {
  const processes = generation.processes()
  const isClosing = processes.some(each => each.state === 'closing')
  const [connections, workers, held] = await Promise.all([
    generation.connections(),
    Promise.all(processes.map(tellWorker)),
    heldUpBy(generation)
  ])
  return {
    generation: generation.number,
    pid: mainPid(generation) || null,
    state: isClosing ? 'closing' : state,
    ms: Math.round(now() - since),
    connections,
    ...(held.length > 0 && { heldUpBy: held }),
    workers
  }
}

async function tellWorker(process: GenerationProcess): Promise<WorkerStatus> {
  const { worker, pid, state, restarts } = process
  const [connections, load] = await Promise.all([process.connections(), process.load()])
  const share = (value: number | undefined) =>
    value === undefined ? null : Math.round(value * 1_000) / 1_000
  const { cpu, elu, rss = null } = load ?? {}
  return { worker, pid, state, restarts, connections, cpu: share(cpu), rss, elu: share(elu) }
}
