import { closeSync } from 'node:fs'
import { openPidFile, type PidFile } from '../control/pid-file.js'
import type { Log } from '../log.js'
import type { Master } from '../master/master.js'
import type { RestartContext } from '../master/restart-context.js'
import { openStandardError } from '../master/standard-error.js'
import type { ResolvedOptions } from '../options/given.js'
import { runMaster } from '../run-master.js'
import { onClose } from '../signals/on-close.js'
import { passedOn } from '../signals/signal-listeners.js'
import { hasControllingTerminal } from '../signals/terminal.js'
import { listenersOfSystemd } from '../systemd/sockets.js'
import { createTeams, type TeamsSettings } from '../team/teams.js'
import { createMasterLog } from './master-log.js'

export interface SupervisorSettings {
  /** How a generation is started, by its number. */
  readonly context: (generation: number) => RestartContext
  readonly options: ResolvedOptions
  readonly pidFile?: string | undefined
  readonly team: TeamsSettings
}

/**
 * The resident master: it loads nothing of the application, keeps the listening sockets, starts generations and takes
 * the signals. From here on the process is the master's.
 * @throws GRACEFUL_UPGRADE_PID_FILE, _LISTEN_FDS, before anything is started; _CONTROL_SOCKET for one that was asked for
 */
export async function supervise(settings: SupervisorSettings): Promise<void> {
  const { context, options, pidFile: file, team } = settings
  const log = createMasterLog(process.stdout)
  // PID 1 gets the orphans of all others for its children; Node.js waits only for what it has started itself.
  if (process.pid === 1)
    log.warn('orphans are not reaped: start this with an init (docker run --init, or tini)')
  const standardError = openStandardError()
  const inherited = listenersOfSystemd(process.env, process.pid)
  const pidFile = file === undefined ? undefined : openPidFile(file)
  const stop = takeSignals(() => master, options, log)
  const mode = 'supervised'
  const { master, control } = runMaster({
    mode,
    first: inherited,
    log,
    options,
    standardError,
    context,
    teams: createTeams(team),
    stop
  })
  if (pidFile !== undefined) keepPidFile(master, pidFile, log)
  master.events.once('ready', () => {
    for (const { fd } of inherited) closeSync(fd) // the worker has sent its own
  })
  try {
    await control
  } catch (error) {
    await master.close(null)
    throw error
  }
}

/** Without it the first generation fails: whoever asked for it relies on it. Later it is no reason to stop upgrading. */
function keepPidFile({ events }: Master, { write, remove }: PidFile, log: Log): void {
  process.on('exit', remove)
  // First: without it nobody is told that this generation serves.
  events.prependOnceListener('ready', () => {
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

/** Those that end this process, and those that are for the application only. @returns what ends it gracefully */
function takeSignals(
  master: () => Master,
  { closeSignals, reloadSignal }: ResolvedOptions,
  log: Log
): () => void {
  // Those that every worker is told of: their default action would leave the worker behind, as its own master.
  const signals = [...new Set([...(closeSignals || []), ...passedOn])]
  const { closeNow } = onClose({
    signals,
    errors: true,
    log,
    close: signal => master().close(signal),
    hurry: () => master().hurry(),
    onSecond: () => master().kill()
  })
  if (!signals.includes('SIGQUIT')) process.on('SIGQUIT', endAtOnce)
  if (reloadSignal !== 'SIGTTIN') process.on('SIGTTIN', signal => scaleBy(1, signal))
  if (reloadSignal !== 'SIGTTOU') process.on('SIGTTOU', signal => scaleBy(-1, signal))
  if (!signals.includes('SIGUSR2') && reloadSignal !== 'SIGUSR2') process.on('SIGUSR2', passOn)
  return closeNow

  function endAtOnce(signal: NodeJS.Signals): void {
    log.error({ signal }, 'ending at once')
    void master()
      .close(signal)
      .then(() => process.exit(1))
    master().kill()
  }

  /** A job in the background of a terminal that reads from it gets the same signal, as often as it tries. */
  function scaleBy(difference: number, signal: NodeJS.Signals): void {
    if (hasControllingTerminal())
      return log.warn({ signal }, 'ignored, as a terminal may have sent it: use graceful-upgrade scale')
    master()
      .scale(master().workers + difference)
      .catch(() => {}) // it has been logged
  }

  /** Nothing for a master; but the generation that serves may know what it means. */
  function passOn(signal: NodeJS.Signals): void {
    master().serving()?.signal(signal)
  }
}
