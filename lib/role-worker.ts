import { setTimeout as sleep } from 'node:timers/promises'
import { GracefulUpgradeError } from './errors.js'
import { adopt } from './handover.js'
import type { Listener } from './listeners.js'
import type { RawHandle } from './node-internals.js'
import { connectParent } from './parent.js'
import type { ConnectionOffer, Inheritance, OfferAnswer } from './protocol.js'
import { watchReadiness } from './readiness.js'
import { type Household, passedOn, type Role } from './role.js'
import { isFree, onClose, onReload } from './signals.js'

/** Time in which a signal that was sent to all processes at once reaches them all, in milliseconds. */
const signalSpread = 100

export interface WorkerRole extends Role {
  /** Something has happened that may have made this generation ready. */
  checkReady(): void
  /** The application says that it listens on all that it wants. */
  declareReady(): void
}

/**
 * A process that was started by a master, from its start on: it accepts on what it inherited only when the
 * master says so, and until then leaves signals and errors to Node.js, as it has nobody to be graceful to.
 * @param onAlone the master is gone: this generation is on its own
 */
export function playWorker(household: Household, inheritance: Inheritance, onAlone: () => void): WorkerRole {
  const { generation, application, listeners, standardError } = household
  const parent = connectParent(take)
  const readiness = watchReadiness(application, listeners)
  let serving = false
  let leave = () => {}

  listeners.on('listening', publish)
  listeners.on('closed', parent.withdraw)
  listeners.once('claimed', () => parent.hold(!serving))
  void readiness.ready.then(parent.ready)
  parent.once('serve', serve)
  parent.on('upgrading', value => {
    application.upgrading = value
  })
  parent.once('retire', () => void application.end('upgrade', parent.offer).then(code => process.exit(code)))
  parent.once('lost', onLost)

  return {
    upgrade() {
      if (serving && !application.ending) return parent.upgrade()
      return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
    },
    leave: () => leave(),
    checkReady: readiness.check,
    declareReady: readiness.declare
  }

  function serve(): void {
    serving = true
    parent.hold(false)
    listeners.serve()
    listeners.dropUnclaimed()
    if (parent.connected) leave = installSignals()
  }

  async function take(offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    if (application.ending) {
      handle.close()
      return 'unavailable' // the next one may take it
    }
    return adopt(listeners.live(), offer, handle) ? 'adopted' : 'refused'
  }

  function publish(listener: Listener): void {
    const handle = listeners.handle(listener)
    if (handle !== undefined) parent.publish(listener, handle)
  }

  /** A signal may come through the master, and to all processes at once from a terminal or systemd: it counts once. */
  function installSignals(): () => void {
    const { log, options } = application
    const received = new Set<NodeJS.Signals>()
    const heard = options.closeSignals || passedOn.filter(signal => !isFree(signal))
    const closing = onClose({
      signals: [],
      errors: options.closeSignals !== false,
      log,
      close: () => application.end('close'),
      onSecond() {}
    })
    for (const signal of heard) process.on(signal, onSignal)
    const leaveReload = onReload(options.reloadSignal, log, {
      reload: () => void parent.upgrade().catch(() => {}), // the master logs it
      onHangup() {} // the master ends this process
    })
    parent.on('close', onWish)
    return () => {
      for (const signal of heard) process.off(signal, onSignal)
      parent.off('close', onWish)
      closing.leave()
      leaveReload()
    }

    function onSignal(signal: NodeJS.Signals): void {
      received.add(signal)
      if (options.closeSignals) closing.closeNow()
    }

    /** What the application listens for itself shall hear of the signal too, as in the first generation. */
    function onWish(signal: NodeJS.Signals | null): void {
      if (signal === null) return closing.closeNow()
      void sleep(signalSpread).then(() => {
        if (received.has(signal)) return
        if (isFree(signal)) process.kill(process.pid, signal)
        else process.emit(signal, signal)
      })
    }
  }

  /** The one that serves goes on alone: there is never no such generation, and never two. */
  function onLost(): void {
    listeners.off('listening', publish)
    listeners.off('closed', parent.withdraw)
    if (application.ending) return
    if (!serving && inheritance.succeeds === 'worker') process.exit(1)
    standardError.replace(inheritance.standardError)
    if (!serving) serve()
    if (application.instances.size > 0) {
      application.log.warn({ generation }, 'master lost, this generation goes on as its own master')
    }
    leave()
    onAlone()
  }
}
