import { setTimeout as sleep } from 'node:timers/promises'
import { adopt } from './adopt.js'
import { GracefulUpgradeError } from './errors.js'
import type { Listener } from './listeners.js'
import type { RawHandle } from './node-internals.js'
import { connectParent } from './parent.js'
import type { ConnectionOffer, Inheritance, OfferAnswer } from './protocol.js'
import { watchReadiness } from './readiness.js'
import { type Household, passedOn, type Role } from './role.js'
import { isFree, onClose, onReload, signalSpread } from './signals.js'
import { createTicketInheritance, readTicketKeys } from './ticket-keys.js'

/** What a worker that may have clients has installed for signals. */
interface Installed {
  close(signal: NodeJS.Signals | null): void
  leave(): void
}

export interface WorkerRole extends Role {
  /** Something has happened that may have made this generation ready. */
  checkReady(): void
  /** The application says that it listens on all that it wants. */
  declareReady(): void
}

/**
 * A process that was started by a master, from its start on: it accepts on what it inherited only when the
 * master says so, and until then leaves signals and errors to Node.js, as it has nobody to be graceful to, but for SIGHUP.
 * One that inherits nothing accepts as soon as it listens, and closes gracefully on signals from then on.
 * @param onAlone the master is gone: this generation is on its own
 */
export function playWorker(household: Household, inheritance: Inheritance, onAlone: () => void): WorkerRole {
  const { generation, application, listeners, standardError } = household
  const parent = connectParent(take, application.connections, () => readTicketKeys(listeners.live()))
  const tickets = createTicketInheritance()
  const readiness = watchReadiness(application, listeners)
  const received = new Set<NodeJS.Signals>()
  let serving = false
  /** Ends because of an error: another one takes its place. */
  let dying = false
  /** While it doesn't serve yet it takes what closes it, and no errors: they are why it fails to start. */
  let early: Installed | undefined
  let installed: Installed | undefined

  listeners.on('listening', publish)
  listeners.on('stopped', withdraw)
  listeners.on('listening', tickets.claim)
  listeners.once('claimed', () => parent.hold(!serving))
  void readiness.ready.then(unclaimed => {
    const published = listeners.open().map(({ key }) => key)
    parent.ready(unclaimed, published, application.endTimeout)
  })
  parent.on('ticketKeys', ticketKeys => {
    tickets.give(ticketKeys)
    for (const listener of listeners.live()) tickets.claim(listener)
  })
  parent.once('serve', serve)
  parent.on('upgrading', value => {
    application.upgrading = value
  })
  parent.once('retire', () => void retire())
  parent.on('close', onWish)
  parent.once('lost', onLost)
  process.on('SIGHUP', onEarlyReload)

  return {
    upgrade() {
      if (serving && !application.ending) return parent.upgrade()
      return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
    },
    enter,
    leave,
    checkReady: readiness.check,
    declareReady: readiness.declare
  }

  /** `pkill -HUP` means whoever runs: its default action would end a generation that boots. */
  function onEarlyReload(): void {
    if (application.options.reloadSignal === 'SIGHUP') void parent.upgrade().catch(() => {}) // the master logs it
  }

  function serve(): void {
    serving = true
    parent.hold(false)
    listeners.serve()
    void readiness.ready.then(listeners.dropUnclaimed) // not ready yet if the master is lost: it may ask for more
    enter()
    leaveEarly() // now, so that there is no moment without one of the two
    process.off('SIGHUP', onEarlyReload)
  }

  function enter(): void {
    if (!parent.isConnected()) return
    if (serving) installed ??= installSignals()
    else if (inheritance.listeners.length === 0) early ??= takeCloseSignals(false)
  }

  function leave(): void {
    leaveEarly()
    installed?.leave()
    installed = undefined
  }

  function leaveEarly(): void {
    early?.leave()
    early = undefined
  }

  async function retire(): Promise<void> {
    const code = await application.end('upgrade', parent.offer)
    const report = application.report()
    if (report !== null) await parent.drained(report)
    process.exit(code)
  }

  /** The master passes on that all shall end. */
  function onWish(signal: NodeJS.Signals | null): void {
    const taken = installed ?? early
    if (taken !== undefined) taken.close(signal)
    else if (application.instances.size === 0 && !application.ending) process.exit(0)
    else void application.end('close').then(code => process.exit(code))
  }

  async function take(offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    if (application.ending) {
      handle.close()
      return 'unavailable' // the next one may take it
    }
    return adopt(listeners.live(), offer, handle) ? 'adopted' : 'refused'
  }

  /** Clients would wait in the master's queue for nobody; but who takes the place of a dying one needs the socket. */
  function withdraw(listener: Listener): void {
    if (!dying) parent.withdraw(listener)
  }

  function publish(listener: Listener): void {
    const handle = listeners.handle(listener)
    if (handle !== undefined) parent.publish(listener, handle, application.endTimeout)
  }

  function installSignals(): Installed {
    const { log, options } = application
    const closing = takeCloseSignals(options.closeSignals !== false)
    const reloading = {
      reload: () => void parent.upgrade().catch(() => {}), // the master logs it
      onHangup() {} // the master ends this process
    }
    const leaveReload = onReload(options.reloadSignal, log, reloading, onEarlyReload)
    return {
      close: closing.close,
      leave() {
        closing.leave()
        leaveReload()
      }
    }
  }

  /** A signal may come through the master, and to all processes at once from a terminal or systemd: it counts once. */
  function takeCloseSignals(errors: boolean): Installed {
    const { log, options } = application
    const heard = new Set(options.closeSignals || passedOn.filter(signal => !isFree(signal)))
    const closing = onClose({
      signals: [],
      errors,
      log,
      close(_signal, error) {
        if (error !== undefined) {
          dying = true
          listeners.handOver()
          parent.dying()
        }
        return application.end('close')
      },
      onSecond() {}
    })
    for (const signal of heard) process.on(signal, onSignal)
    // Ours is there only beside the application's own: it would keep the default action away.
    if (!options.closeSignals) process.on('newListener', onNewListener)
    return {
      close: closeOnWish,
      leave() {
        process.off('newListener', onNewListener)
        for (const signal of heard) process.off(signal, onSignal)
        closing.leave()
      }
    }

    function onNewListener(event: string | symbol): void {
      const signal = passedOn.find(each => each === event)
      if (signal === undefined || heard.has(signal)) return
      heard.add(signal)
      process.on(signal, onSignal)
    }

    function onSignal(signal: NodeJS.Signals): void {
      received.add(signal)
      if (options.closeSignals) closing.closeNow()
    }

    /** What the application listens for itself shall hear of the signal too, as in the first generation. */
    function closeOnWish(signal: NodeJS.Signals | null): void {
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
    listeners.off('stopped', withdraw)
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
