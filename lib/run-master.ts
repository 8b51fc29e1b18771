import { controlMaster } from './control/answers.js'
import type { Status } from './control/messages.js'
import type { Control } from './control/server.js'
import { followStatus } from './control/status.js'
import type { Log } from './log.js'
import type { Generation } from './master/generation.js'
import { createMaster, type Master, type MasterOptions } from './master/master.js'
import { createReleases } from './master/releases.js'
import type { RestartContext } from './master/restart-context.js'
import type { GenerationStart, WorkerSettings } from './master/spawn.js'
import { startWorker } from './master/worker.js'
import { countEvents } from './metrics/counters.js'
import { metricsOf } from './metrics/metrics.js'
import type { ResolvedOptions } from './options/given.js'
import type { Inquire } from './protocol/inquire.js'
import { watchLauncher } from './signals/launcher.js'
import { onReload } from './signals/on-reload.js'
import { followTerminal } from './signals/terminal.js'
import { createNotifier } from './systemd/notify.js'
import { tellServiceManager } from './systemd/tell.js'
import type { Teams } from './team/teams.js'

export interface MasterSettings extends Pick<MasterOptions, 'first' | 'whyNot'> {
  readonly mode: Status['mode']
  readonly log: Log
  readonly options: Pick<ResolvedOptions, 'readyTimeout' | 'reloadSignal' | 'controlSocket'>
  readonly standardError: WorkerSettings['standardError']
  /** How the nth process is started. */
  readonly context: (nth: number) => RestartContext
  /** Where generations may have several workers; else each is one child. */
  readonly teams?: Teams
  /** Ends this process gracefully, as by a signal. */
  stop(): void
}

export interface RunningMaster {
  readonly master: Master
  /** Rejects with GRACEFUL_UPGRADE_CONTROL_SOCKET for a path that was asked for. */
  readonly control: Promise<Control | undefined>
  /** What it tells of the whole service. */
  readonly inquire: Inquire
  /** Takes back what belongs to this process: the signal, the control socket, and what systemd is told. */
  leave(): void
}

/** What a master has to do with the world; a room test plays it. */
export interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  exit(code: number): void
  readonly startWorker: typeof startWorker
  readonly controlMaster: typeof controlMaster
  readonly createNotifier: typeof createNotifier
}

const real: Surroundings = {
  env: process.env,
  exit: code => process.exit(code),
  startWorker,
  controlMaster,
  createNotifier
}

/**
 * Makes this process a master: of the application in it, or of nothing but workers. It is reloaded by a signal, and by
 * the control socket, and tells systemd how it is. What closes it is the caller's, and must be installed before: a
 * signal's default action would leave the first worker behind, to serve as its own master.
 */
export function runMaster(settings: MasterSettings, surroundings: Surroundings = real): RunningMaster {
  const { mode, first, whyNot, teams, log, options, standardError, context, stop } = settings
  const { env, exit, startWorker, controlMaster, createNotifier } = surroundings
  const { readyTimeout, reloadSignal, controlSocket } = options
  const shared = { log, standardError, readyTimeout }
  const releases = createReleases(context)
  const leaveReload = onReload(reloadSignal, log, {
    reload: () => void master.upgrade().catch(() => {}), // it has been logged
    ...followTerminal(log, stop)
  })
  const master: Master = createMaster({
    first,
    log,
    start,
    placeOf: generation => releases.of(generation)?.place,
    ...(whyNot && { whyNot }),
    team: teams,
    onEnd: exit
  })
  if ('number' in first) releases.note(first, releases.choose({ number: first.number }))
  const leaveLauncher = watchLauncher(log, process.pid)
  master.events.once('closing', leaveLauncher)
  const notifier = createNotifier(env, log)
  tellServiceManager(master, notifier)
  const { directory } = context(1)
  const status = followStatus({ master, mode, directory })
  const counters = countEvents(master)
  const control = controlMaster({ master, inquire, stop }, controlSocket, log)
  return {
    master,
    control,
    inquire,
    leave() {
      leaveReload()
      leaveLauncher()
      notifier.close()
      void control.then(
        opened => opened?.close(),
        () => {}
      )
    }
  }

  /** What it doesn't know by heart it asks its workers for. */
  async function inquire(about: Parameters<Inquire>[0]): Promise<unknown> {
    return about === 'status' ? status() : metricsOf(await status(), counters)
  }

  function start(given: GenerationStart): Generation {
    const next = { ...given, onInquire: inquire }
    const release = releases.choose(next)
    const generation =
      teams?.start({ ...shared, release }, next, startWorker) ??
      startWorker({ ...shared, context: release.next() }, next)
    releases.note(generation, release)
    return generation
  }
}
