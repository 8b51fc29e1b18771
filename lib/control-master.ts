import { now } from './clock.js'
import type { Progress, Status, UpgradeRecord } from './control.js'
import { type Control, type ControlHandlers, openControl } from './control-server.js'
import { GracefulUpgradeError } from './errors.js'
import type { Generation, Retirement } from './generation.js'
import type { Log } from './log.js'
import type { Master } from './master.js'
import type { ResolvedOptions } from './options.js'
import type { UpgradeResult } from './protocol.js'
import { version } from './version.js'

export interface ControlledMaster {
  readonly master: Master
  /** By which others know it. */
  readonly pid: number
  readonly mode: Status['mode']
  /** Of the service, as the shell saw it. */
  readonly directory: string
  upgrade(): Promise<UpgradeResult>
  /** Drains and ends the process, as a signal would. */
  stop(): void
}

/** How many upgrades are remembered. */
const historyLength = 10
/** Pause between two looks at a generation that drains, in milliseconds. */
const countInterval = 250

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
    const control = await openControl(handlers, path === true ? undefined : path, controlled.pid)
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
function answer({ master, pid, mode, directory, upgrade, stop }: ControlledMaster): ControlHandlers {
  const { events } = master
  const upgrades: UpgradeRecord[] = []
  events.on('ready', ({ generation, pid, ms }) => remember({ generation, pid, ms, result: 'ready' }))
  events.on('failed', ({ number: generation, pid }, { code: result, message }, ms) =>
    remember({ generation, pid, ms, result, message })
  )
  events.on('retired', ({ number }, { report }) => {
    const next = upgrades.findLast(({ generation, result }) => result === 'ready' && generation > number)
    if (next !== undefined) upgrades[upgrades.indexOf(next)] = { ...next, report }
  })
  return {
    status,
    reload,
    async stop() {
      const ended = master.close(null)
      stop()
      await ended
    }
  }

  function remember(record: Omit<UpgradeRecord, 'at'>): void {
    upgrades.unshift({ ...record, at: Date.now() - record.ms })
    upgrades.length = Math.min(upgrades.length, historyLength)
  }

  async function status(): Promise<Status> {
    const tenures = master.generations()
    const generations = tenures.map(async ({ generation, state, since }) => ({
      generation: generation.number,
      pid: generation.pid,
      state,
      ms: Math.round(now() - since),
      connections: await generation.connections()
    }))
    const current = tenures.find(({ state }) => state === 'serving')?.generation
    return {
      pid,
      mode,
      version: version(),
      directory,
      uptime: Math.round(process.uptime() * 1_000),
      state: master.state,
      generations: await Promise.all(generations),
      listeners: (current?.listeners() ?? []).map(({ key, bound }) => ({ key, bound })),
      upgrades
    }
  }

  async function reload(onProgress: (progress: Progress) => void): Promise<void> {
    const old = master.generations().find(({ state }) => state === 'serving')?.generation
    const retired = old && whenRetired(old)
    events.on('booting', onBooting)
    try {
      onProgress({ stage: 'ready', ...(await upgrade()) })
    } catch (error) {
      retired?.cancel()
      throw error
    } finally {
      events.off('booting', onBooting)
    }
    if (old === undefined || retired === undefined) return // nobody served: a dead worker was replaced
    const { number: generation, pid } = old
    const showCounts = async () => {
      const connections = await old.connections()
      if (isDraining(old)) onProgress({ stage: 'draining', generation, pid, connections })
    }
    const timer = setInterval(() => void showCounts(), countInterval)
    void showCounts()
    const [{ code, signal, report }, ms] = await retired.promise
    clearInterval(timer)
    onProgress({ stage: 'retired', generation, pid, ms, code, signal, report })

    function onBooting({ number, pid }: Generation): void {
      onProgress({ stage: 'booting', generation: number, pid })
    }
  }

  function isDraining(generation: Generation): boolean {
    return master
      .generations()
      .some(tenure => tenure.generation === generation && tenure.state === 'draining')
  }

  function whenRetired(generation: Generation): { promise: Promise<[Retirement, number]>; cancel(): void } {
    let cancel = () => {}
    const promise = new Promise<[Retirement, number]>(resolve => {
      events.on('retired', onRetired)
      cancel = () => events.off('retired', onRetired)

      function onRetired(old: Generation, retirement: Retirement, ms: number): void {
        if (old !== generation) return
        cancel()
        resolve([retirement, ms])
      }
    })
    return { promise, cancel }
  }
}
