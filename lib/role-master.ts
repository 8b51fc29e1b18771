import cluster from 'node:cluster'
import { isMainThread } from 'node:worker_threads'
import { generationHere } from './application.js'
import { controlMaster } from './control-master.js'
import { GracefulUpgradeError } from './errors.js'
import { createMaster, type Master } from './master.js'
import type { UpgradeResult } from './protocol.js'
import { type Household, passedOn, type Role } from './role.js'
import { tellServiceManager } from './service-manager.js'
import { errorEvents, listenersOf, onClose, onReload } from './signals.js'
import { createNotifier } from './systemd-notify.js'
import { startWorker } from './worker.js'

/**
 * The process that was started, or a worker that has lost its master: it serves, and is the master too. After
 * its first upgrade it is nothing but the master.
 */
export function playMaster({ generation, application, listeners, context, standardError }: Household): Role {
  const { log, options } = application
  const { closeSignals, readyTimeout, reloadSignal } = options
  const master: Master = createMaster({
    first: generationHere(generation, application, listeners, (offer, handle) => master.relay(offer, handle)),
    log,
    start: next => startWorker({ context, log, standardError, readyTimeout }, next),
    onRetire,
    onEnd: code => process.exit(code)
  })
  let closing = close(closeSignals || [], closeSignals !== false)
  const leaveReload = onReload(reloadSignal, log, {
    reload: () => void upgrade().catch(() => {}), // it has been logged
    onHangup: () => closing.closeNow()
  })
  const { directory } = context
  const stop = () => closing.closeNow()
  const controlled = { master, pid: process.pid, mode: 'standalone', directory, upgrade, stop } as const
  const control = controlMaster(controlled, options.controlSocket, log).catch(error =>
    log.error({ err: error }, 'no control socket')
  )
  const notifier = createNotifier(process.env, log)
  tellServiceManager(master, notifier)
  return {
    upgrade,
    enter() {},
    leave() {
      closing.leave()
      leaveReload()
      master.abandon()
      notifier.close()
      void control.then(opened => opened?.close())
    }
  }

  async function upgrade(): Promise<UpgradeResult> {
    const error = whyNot()
    if (error === undefined) return master.upgrade()
    log.warn({ err: error }, 'upgrade refused')
    master.events.emit('refused', error)
    throw error
  }

  function whyNot(): GracefulUpgradeError | undefined {
    const reason = whyUnsupported()
    if (reason !== undefined) return new GracefulUpgradeError('GRACEFUL_UPGRADE_UNSUPPORTED', reason)
    // The application closes itself: there is nothing to inherit, and the process may end with it.
    const [first] = master.generations()
    const isHere = first?.generation.pid === process.pid && first.state === 'serving'
    const serves = [...application.instances].some(({ state }) => state === 'serving')
    return isHere && !serves ? new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING') : undefined
  }

  function close(signals: readonly NodeJS.Signals[], errors: boolean) {
    return onClose({ signals, errors, log, close: master.close, onSecond: master.kill })
  }

  /**
   * The application goes; what it listens for itself would end the process under the worker, and so would an error
   * of what is left of it. The new listeners come before the old ones go, so that no signal meets its default
   * action between.
   */
  function onRetire(): void {
    const signals = [...new Set([...(closeSignals || []), ...passedOn])]
    const takeOff = listenersOf(signals)
    const old = closing
    closing = close(signals, false)
    for (const event of closeSignals ? errorEvents : []) {
      process.on(event, error => log.error({ err: error }, 'uncaught error in a retired generation'))
    }
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
