import cluster from 'node:cluster'
import { isMainThread } from 'node:worker_threads'
import { generationHere } from './application.js'
import { GracefulUpgradeError } from './errors.js'
import { createMaster, type Master } from './master.js'
import type { UpgradeResult } from './protocol.js'
import { type Household, passedOn, type Role } from './role.js'
import { listenersOf, onClose, onReload } from './signals.js'
import { startWorker } from './worker.js'

/**
 * The process that was started, or a worker that has lost its master: it serves, and is the master too. After
 * its first upgrade it is nothing but the master.
 */
export function playMaster({ generation, application, listeners, context, standardError }: Household): Role {
  const { log, options } = application
  const { closeSignals, closeTimeout, drainTimeout, readyTimeout, reloadSignal } = options
  const endTimeout = drainTimeout + closeTimeout + 1_000
  const master: Master = createMaster({
    current: generationHere(generation, application, listeners, (offer, handle) =>
      master.relay(offer, handle)
    ),
    log,
    start: next => startWorker({ context, log, standardError, readyTimeout, endTimeout }, next),
    onRetire,
    onEnd: code => process.exit(code)
  })
  let closing = close(closeSignals || [], closeSignals !== false)
  const leaveReload = onReload(reloadSignal, log, {
    reload: () => void upgrade().catch(() => {}), // it has been logged
    onHangup: () => closing.closeNow()
  })
  return {
    upgrade,
    leave() {
      closing.leave()
      leaveReload()
    }
  }

  async function upgrade(): Promise<UpgradeResult> {
    const reason = whyUnsupported()
    if (reason === undefined) return master.upgrade()
    const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_UNSUPPORTED', reason)
    log.warn({ err: error }, 'upgrade refused')
    throw error
  }

  function close(signals: readonly NodeJS.Signals[], errors: boolean) {
    return onClose({ signals, errors, log, close: master.close, onSecond: master.kill })
  }

  /**
   * The application goes; what it listens for itself would end the process under the worker. The new listeners
   * come before the old ones go, so that no signal meets its default action between.
   */
  function onRetire(): void {
    const signals = closeSignals || passedOn
    const takeOff = listenersOf(signals)
    const old = closing
    closing = close(signals, false)
    old.leave()
    takeOff()
  }
}

function whyUnsupported(): string | undefined {
  if (process.platform === 'win32') return 'Windows cannot pass a listening socket on to another process'
  if (cluster.isWorker)
    return "in a node:cluster worker the sockets are the primary's: run without node:cluster"
  if (!isMainThread) return 'in a worker thread: listen in the main thread'
  return undefined
}
