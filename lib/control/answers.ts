import { GracefulUpgradeError } from '../errors.js'
import type { Log } from '../log.js'
import type { Master } from '../master/master.js'
import type { ResolvedOptions } from '../options/given.js'
import type { Inquire } from '../protocol/inquire.js'
import type { Status } from './messages.js'
import { reload } from './reload.js'
import { type Control, type ControlHandlers, openControl } from './server.js'

export interface ControlledMaster {
  readonly master: Master
  /** What it tells of the service. */
  readonly inquire: Inquire
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
  const { master, inquire, stop } = controlled
  return {
    status: () => inquire('status') as Promise<Status>,
    metrics: () => inquire('metrics') as Promise<string>,
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
