import { now } from '../clock.js'
import { GracefulUpgradeError } from '../errors.js'
import type { Log } from '../log.js'
import { type GenerationProcess, mainPid } from '../master/generation.js'
import type { Master } from '../master/master.js'
import type { GenerationEntry } from '../master/roster.js'
import type { ResolvedOptions } from '../options/given.js'
import { version } from '../version.js'
import type { GenerationStatus, Status, WorkerStatus } from './messages.js'
import { reload } from './reload.js'
import { type Control, type ControlHandlers, openControl } from './server.js'
import { rememberUpgrades } from './upgrade-history.js'

export interface ControlledMaster {
  readonly master: Master
  readonly mode: Status['mode']
  /** Of the service, as the shell saw it. */
  readonly directory: string
  /** Drains and ends the process, as a signal would. */
  stop(): void
}

/**
 * Opens the control socket of a master, if there shall be one. Where it can't be opened and nobody has asked for its
 * path, there is none, and a line in the log.
 * @throws GRACEFUL_UPGRADE_CONTROL_SOCKET for a path that was asked for
 */
export async function controlMaster(
  controlled: ControlledMaster,
  path: ResolvedOptions['controlSocket'],
  log: Log
): Promise<Control | undefined> {
  if (path === false || process.platform === 'win32') return undefined
  const handlers = answer(controlled)
  try {
    const control = await openControl(handlers, path === true ? undefined : path)
    process.on('exit', control.close)
    return {
      path: control.path,
      close() {
        process.off('exit', control.close)
        control.close()
      }
    }
  } catch (error) {
    if (path !== true || !(error instanceof GracefulUpgradeError)) throw error
    log.warn({ err: error }, 'no control socket: reload by signal')
    return undefined
  }
}

/** Answers what comes in at the control socket. */
export function answer(controlled: ControlledMaster): ControlHandlers {
  const { master, stop } = controlled
  const upgrades = rememberUpgrades(master)
  return {
    status: () => tellStatus(controlled, upgrades()),
    reload: onProgress => reload(master, onProgress),
    scale(count, onProgress) {
      const workers = /^[+-]/.test(count) ? master.workers + Number(count) : Number(count)
      return master.scale(workers, workers => onProgress({ stage: 'scaling', workers }))
    },
    confirm: () => master.judge('confirm', 'asked for by graceful-upgrade confirm'),
    rollback: () => master.judge('rollback', 'asked for by graceful-upgrade rollback'),
    async stop() {
      const ended = master.close(null)
      stop()
      await ended
    }
  }
}

async function tellStatus(
  { master, mode, directory }: ControlledMaster,
  upgrades: Status['upgrades']
): Promise<Status> {
  const generations = master.generations().map(tellGeneration)
  const listeners = master.serving()?.listeners() ?? []
  return {
    pid: process.pid,
    mode,
    pluginVersion: version(),
    directory,
    uptime: Math.round(process.uptime() * 1_000),
    state: master.state,
    generations: await Promise.all(generations),
    listeners: listeners.map(({ key, bound }) => ({ key, bound })),
    balance: master.balance(),
    probation: master.probation(),
    upgrades
  }
}

async function tellGeneration({ generation, state, since }: GenerationEntry): Promise<GenerationStatus> {
  const processes = generation.processes()
  const isClosing = processes.some(each => each.state === 'closing')
  const [connections, workers] = await Promise.all([
    generation.connections(),
    Promise.all(processes.map(tellWorker))
  ])
  return {
    generation: generation.number,
    pid: mainPid(generation) || null,
    state: isClosing ? 'closing' : state,
    ms: Math.round(now() - since),
    connections,
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
