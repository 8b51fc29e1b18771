/**
 * What is one per process by nature, in one place: its listeners, its application, its master or its parent,
 * and its signals. Everything else is made here, and given what it needs.
 */

import cluster from 'node:cluster'
import { setTimeout as sleep } from 'node:timers/promises'
import { createApplication, generationHere } from './application.js'
import { GracefulUpgradeError } from './errors.js'
import type { Instance } from './instance.js'
import { type Listener, watchListeners } from './listeners.js'
import { createMaster, type Master } from './master.js'
import { connectParent, type Parent } from './parent.js'
import { inheritanceVariable, readInheritance, type UpgradeResult } from './protocol.js'
import { watchReadiness } from './readiness.js'
import { captureRestartContext } from './restart-context.js'
import { isFree, onClose, onReload, takeSignals, type Uninstall } from './signals.js'
import { openStandardError } from './standard-error.js'
import { startWorker } from './worker.js'

const inheritance = readInheritance(process.env[inheritanceVariable], process.ppid)
delete process.env[inheritanceVariable] // not for the application's own children
const context = captureRestartContext()
const standardError = openStandardError()

export const generation = inheritance?.generation ?? 1
export const listeners = watchListeners(inheritance?.listeners ?? [])
export const application = createApplication(listeners)

/** In what part this process plays its role; a part is begun when the first instance listens. */
type Part =
  | { readonly name: 'none' }
  | { readonly name: 'master'; readonly master: Master; uninstall: Uninstall }
  | { readonly name: 'worker'; readonly parent: Parent; readonly uninstall: Uninstall }

let part: Part = { name: 'none' }
const parent = inheritance !== undefined && process.connected ? connectParent() : undefined
const readiness = parent && watchReadiness(application, listeners)
if (parent !== undefined) serveUnder(parent)
listeners.on('listening', begin)

/** Asks whoever is the master. */
export function upgrade(): Promise<UpgradeResult> {
  const unsupported = whyUnsupported()
  if (unsupported !== undefined) {
    return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_UNSUPPORTED', unsupported))
  }
  switch (part.name) {
    case 'none':
      return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
    case 'master':
      return part.master.upgrade()
    case 'worker':
      if (application.ending) return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
      return part.parent.upgrade()
  }
}

/** The application says that it listens on all that it wants. */
export function declareReady(): void {
  readiness?.declare()
}

export function add(instance: Instance): void {
  application.add(instance)
}

export function booted(instance: Instance): void {
  instance.booted = true
  readiness?.check()
}

/** With the last instance go the signals: nothing of this package is left behind in the process. */
export function remove(instance: Instance): void {
  application.remove(instance)
  readiness?.check()
  if (application.instances.size > 0 || application.ending || part.name === 'none') return
  part.uninstall()
  part = { name: 'none' }
}

function begin({ server }: Listener): void {
  if (part.name !== 'none' || application.ending) return
  if (![...application.instances].some(({ app }) => app.server === server)) return
  if (parent?.connected) beginAsWorker(parent)
  else beginAsMaster()
}

function beginAsMaster(): void {
  const { log, options } = application
  const master = createMaster({
    current: generationHere(generation, application, listeners),
    log,
    start: next =>
      startWorker(
        {
          context,
          log,
          standardError,
          readyTimeout: options.readyTimeout,
          endTimeout: options.drainTimeout + options.closeTimeout + 1_000
        },
        next
      ),
    onRetire: becomeMasterOnly,
    onEnd: code => process.exit(code)
  })
  const close = onClose({
    signals: options.closeSignals || [],
    errors: options.closeSignals !== false,
    log,
    close: signal => master.close(signal),
    onSecond: () => master.kill()
  })
  const uninstallReload = reloadBy(() => close.closeNow())
  part = {
    name: 'master',
    master,
    uninstall: () => {
      close.uninstall()
      uninstallReload()
    }
  }

  /** The application goes; what it had installed for signals would end the process under the worker. */
  function becomeMasterOnly(): void {
    if (part.name !== 'master') return
    part.uninstall()
    const signals = options.closeSignals || (['SIGTERM', 'SIGINT'] as const)
    takeSignals(signals)
    const close = onClose({
      signals,
      errors: false,
      log,
      close: signal => master.close(signal),
      onSecond: () => master.kill()
    })
    const uninstallReload = reloadBy(() => close.closeNow())
    part.uninstall = () => {
      close.uninstall()
      uninstallReload()
    }
  }
}

function beginAsWorker(parent: Parent): void {
  const { log, options } = application
  const signals = options.closeSignals || []
  const received = new Set<NodeJS.Signals>()
  const ours = signals.filter(isFree)
  // A signal may come from the master, and from the terminal or systemd to all processes at once: it counts once.
  const close = onClose({
    signals: [],
    errors: options.closeSignals !== false,
    log,
    close: () =>
      application.end('close').then(
        () => 0,
        error => {
          log.error({ err: error }, 'closing the application failed')
          return 1
        }
      ),
    onSecond() {}
  })
  for (const signal of signals) process.on(signal, onSignal)
  const uninstallReload = reloadBy(() => {})
  const uninstall = () => {
    for (const signal of signals) process.off(signal, onSignal)
    parent.off('close', onCloseWish)
    close.uninstall()
    uninstallReload()
  }
  parent.on('close', onCloseWish)
  part = { name: 'worker', parent, uninstall }

  function onSignal(signal: NodeJS.Signals): void {
    received.add(signal)
    if (ours.includes(signal)) close.closeNow()
  }

  /** The application's own listeners shall hear of it as in the first generation, unless they have already. */
  function onCloseWish(signal: NodeJS.Signals | null): void {
    if (signal === null || ours.includes(signal)) return close.closeNow()
    void sleep(100).then(() => {
      if (received.has(signal)) return
      if (isFree(signal) || !process.emit(signal, signal)) process.kill(process.pid, signal)
    })
  }
}

function reloadBy(onHangup: () => void): Uninstall {
  const { log, options } = application
  if (options.reloadSignal === false || process.platform === 'win32') return () => {}
  return onReload(options.reloadSignal, log, {
    onHangup,
    reload() {
      upgrade().catch(error => {
        // Master and worker log what failed; what never reached them is said here.
        if (part.name !== 'master' || error.code === 'GRACEFUL_UPGRADE_UNSUPPORTED') {
          log.warn({ err: error }, 'upgrade refused')
        }
      })
    }
  })
}

/** The child's side of an upgrade, from its start on. */
function serveUnder(parent: Parent): void {
  let serving = false
  listeners.on('listening', publish)
  listeners.on('closed', withdraw)
  listeners.once('claimed', () => parent.hold(!serving))
  void readiness?.ready.then(unclaimed => parent.ready(unclaimed))
  parent.once('serve', serve)
  parent.on('upgrading', value => {
    application.upgrading = value
  })
  parent.once('retire', () => {
    void application
      .end('upgrade')
      .then(
        () => 0,
        error => {
          application.log.error({ err: error }, 'closing the application failed')
          return 1
        }
      )
      .then(code => process.exit(code))
  })
  parent.once('lost', onLost)

  function serve(): void {
    serving = true
    parent.hold(false)
    listeners.serve()
    listeners.dropUnclaimed()
  }

  function publish(listener: Listener): void {
    const handle = listeners.handle(listener)
    if (handle !== undefined) parent.publish(listener, handle)
  }

  function withdraw(listener: Listener): void {
    parent.withdraw(listener)
  }

  /** The one that serves goes on, as its own master: there is never none, and never two. */
  function onLost(): void {
    listeners.off('listening', publish)
    listeners.off('closed', withdraw)
    if (application.ending) return
    if (!serving && inheritance?.succeeds === 'worker') process.exit(1)
    if (inheritance !== undefined) standardError.replace(inheritance.standardError)
    if (!serving) serve()
    if (part.name !== 'worker') return // begins as a master when it listens
    application.log.warn({ generation }, 'master lost, this generation goes on as its own master')
    part.uninstall()
    part = { name: 'none' }
    beginAsMaster()
  }
}

function whyUnsupported(): string | undefined {
  if (process.platform === 'win32')
    return 'Windows has no way to hand over a listening socket that Node.js can use'
  if (cluster.isWorker)
    return 'in a node:cluster worker the primary has the sockets; run one process, or one per core without cluster'
  return undefined
}
