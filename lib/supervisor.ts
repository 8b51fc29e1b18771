import { closeSync } from 'node:fs'
import { controlMaster } from './control-master.js'
import type { Log } from './log.js'
import { createMaster, type Master } from './master.js'
import { createMasterLog } from './master-log.js'
import type { ResolvedOptions } from './options.js'
import type { PidFile } from './pid-file.js'
import type { RestartContext } from './restart-context.js'
import { passedOn } from './role.js'
import { tellServiceManager } from './service-manager.js'
import { onClose, onReload } from './signals.js'
import { openStandardError } from './standard-error.js'
import { listenersOfSystemd } from './systemd-listeners.js'
import { createNotifier } from './systemd-notify.js'
import { startWorker } from './worker.js'

export interface SupervisorSettings {
  /** How a generation is started, by its number. */
  readonly context: (generation: number) => RestartContext
  readonly options: ResolvedOptions
  readonly pidFile?: string | undefined
  /** By which others know the service: of this process, or of the init that it runs under. */
  readonly pid: number
  /** Why this process, which is PID 1, is no init. */
  readonly whyNoInit?: string | undefined
}

/**
 * The resident master: it loads nothing of the application, keeps the listening sockets, starts generations and takes
 * the signals. From here on the process is the master's.
 * @throws GRACEFUL_UPGRADE_PID_FILE, _LISTEN_FDS, before anything is started; _CONTROL_SOCKET for one that was asked for
 */
export async function supervise(settings: SupervisorSettings): Promise<void> {
  const { context, options, pidFile: file, pid, whyNoInit } = settings
  const log = createMasterLog(process.stdout)
  if (whyNoInit !== undefined)
    log.warn({ reason: whyNoInit }, 'orphans are not reaped: start this with an init')
  const standardError = openStandardError()
  const { readyTimeout } = options
  const inherited = listenersOfSystemd(process.env, pid)
  const pidFile = file === undefined ? undefined : await openPidFile(file, pid)

  // Before the first worker starts: a signal's default action would leave it behind, to serve as its own master.
  const stop = takeSignals(() => master, options, log)
  const master: Master = createMaster({
    first: inherited,
    log,
    start: next => startWorker({ context: context(next.number), log, standardError, readyTimeout }, next),
    onEnd: code => process.exit(code)
  })
  if (pidFile !== undefined) keepPidFile(master, pidFile, log)
  tellServiceManager(master, createNotifier(process.env, log))
  master.events.once('ready', () => {
    for (const { fd } of inherited) closeSync(fd) // the worker has sent its own
  })
  const { directory } = context(1)
  const controlled = { master, pid, mode: 'supervised', directory, upgrade: master.upgrade, stop } as const
  try {
    await controlMaster(controlled, options.controlSocket, log)
  } catch (error) {
    await master.close(null)
    throw error
  }
}

/** Loaded only where one is asked for: with it comes node:crypto, a megabyte of memory. */
async function openPidFile(file: string, pid: number): Promise<PidFile> {
  const loaded = await import('./pid-file.js')
  return loaded.openPidFile(file, pid)
}

/** Without it the first generation fails: whoever asked for it relies on it. Later it is no reason to stop upgrading. */
function keepPidFile({ events }: Master, { write, remove }: PidFile, log: Log): void {
  process.on('exit', remove)
  events.once('ready', () => {
    write()
    events.on('ready', rewrite)
  })

  function rewrite(): void {
    try {
      write()
    } catch (error) {
      log.error({ err: error }, 'pid file not written')
    }
  }
}

/** @returns what ends the process gracefully */
function takeSignals(
  master: () => Master,
  { closeSignals, reloadSignal }: ResolvedOptions,
  log: Log
): () => void {
  // Those that every worker is told of: their default action would leave the worker behind, as its own master.
  const signals = [...new Set([...(closeSignals || []), ...passedOn])]
  const closing = onClose({
    signals,
    errors: true,
    log,
    close: signal => master().close(signal),
    onSecond: () => master().kill()
  })
  onReload(reloadSignal, log, {
    reload: () =>
      void master()
        .upgrade()
        .catch(() => {}), // it has been logged
    onHangup: closing.closeNow
  })
  if (!signals.includes('SIGQUIT')) process.on('SIGQUIT', endAtOnce)
  if (!signals.includes('SIGUSR2') && reloadSignal !== 'SIGUSR2') process.on('SIGUSR2', passOn)
  return closing.closeNow

  function endAtOnce(signal: NodeJS.Signals): void {
    log.error({ signal }, 'ending at once')
    void master()
      .close(signal)
      .then(() => process.exit(1))
    master().kill()
  }

  /** Nothing for a master; but the generation that serves may know what it means. */
  function passOn(signal: NodeJS.Signals): void {
    const serving = master()
      .generations()
      .find(({ state }) => state === 'serving')
    if (serving !== undefined) process.kill(serving.generation.pid, signal)
  }
}
