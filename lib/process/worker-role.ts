import { isMovable } from '../connections/server-kind.js'
import { GracefulUpgradeError } from '../errors.js'
import { createTicketInheritance, readTicketKeys } from '../handover/session-tickets.js'
import type { Listener } from '../listeners/listeners.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import { describeCheckFailure } from '../protocol/check-failure.js'
import type { Inheritance } from '../protocol/inheritance.js'
import { writeLine } from '../protocol/log-line.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { type Host, thisHost } from '../signals/host.js'
import { withoutGap } from '../signals/signal-listeners.js'
import { inquireHere } from './inquire-here.js'
import { createOrphan, type Orphan } from './orphan.js'
import { connectParent } from './parent.js'
import type { ProcessContext, Role } from './role.js'
import { passSelfCheck } from './self-check.js'
import { createSharer, nothingShared } from './sharer.js'
import { takeInto } from './take.js'
import { termsOf } from './terms.js'
import { createWorkerEnd, type WorkerLife } from './worker-end.js'
import { createWorkerSignals, type Installed } from './worker-signals.js'

/** What a worker was born with. */
export interface Birth {
  readonly inheritance: Inheritance
  /** Resolves when it can serve, with the keys of what it has inherited and doesn't want. */
  readonly ready: Promise<readonly string[]>
  /** The master is gone: this generation is on its own. @returns what the process is from then on */
  onAlone(): Role
}

/**
 * A process that was started by a master, from its start on: it accepts on what it inherited only when the
 * master says so, and until then leaves signals and errors to Node.js, as it has nobody to be graceful to, but for SIGHUP.
 * One that inherits nothing accepts as soon as it listens, and closes gracefully on signals from then on.
 */
export function createWorkerRole(
  processContext: ProcessContext,
  { inheritance, ready, onAlone }: Birth,
  ends: { readonly host: Host; connect: typeof connectParent } = { host: thisHost, connect: connectParent }
): Role {
  const { generation, team, application, listeners, own, beside, standardError } = processContext
  const { host, connect } = ends
  const parent = connect(takeInto(application, listeners), {
    count: application.connections,
    heldUpBy: application.heldUpBy,
    reveal: () => readTicketKeys(listeners.live()),
    tally: beside.tally
  })
  const tickets = createTicketInheritance()
  const sharer = createSharer({
    relay: parent.offer,
    listeners,
    get log() {
      return application.log
    }
  })
  const life: WorkerLife = { phase: 'booting' }
  const end = createWorkerEnd(processContext, life, {
    parent,
    host,
    signals: () => signals,
    installed: () => installed
  })
  const signals = createWorkerSignals(
    processContext,
    {
      upgrade: () => askForUpgrade().then(undefined, () => {}), // the master logs it
      ...end
    },
    host
  )
  let installed: Installed | undefined
  let orphan: Orphan | undefined
  /** Aborted from then on: a generation whose master is lost serves unchecked. */
  const served = new AbortController()

  listeners.on('listening', publish)
  listeners.on('stopped', withdraw)
  listeners.on('listening', tickets.claim)
  listeners.once('claimed', () => parent.keepAlive(life.phase === 'booting'))
  void ready.then(async unclaimed => {
    await passSelfCheck(application, { onAsk: parent.asks, onFailure, over: served.signal })
    const published = listeners.open().map(({ key }) => key)
    parent.ready(unclaimed, published, application.times, termsOf(application.options))
  })
  parent.on('ticketKeys', ticketKeys => {
    tickets.give(ticketKeys)
    for (const listener of listeners.live()) tickets.claim(listener)
  })
  parent.once('probe', probe)
  parent.on('beside', share => {
    if (share === null) void beside.over()
    else beside.give(share, parent.offer)
  })
  parent.once('serve', dropped => {
    serve(dropped)
    if (dropped === undefined) processContext.servesAlone() // by an older master, which says no more than that
  })
  parent.once('alone', processContext.servesAlone)
  parent.on('team', news => {
    team.hear(news)
    knowSiblings()
  })
  knowSiblings()
  parent.on('upgrading', value => listeners.upgrading(value))
  parent.on('log', line => writeLine(application.log, line))
  parent.on('share', (request, answer) => {
    const isWanted = life.phase === 'serving' && !application.ending && application.options.handover !== false
    void (isWanted ? sharer.share(request) : Promise.resolve(nothingShared)).then(answer)
  })
  parent.once('retire', isUrgent => void end.retire(isUrgent))
  parent.on('close', end.closeAsAsked)
  parent.once('lost', onLost)
  const stopEarlyReload = signals.reloadWhileBooting()

  return {
    upgrade() {
      if (life.phase !== 'booting' && !application.ending) return askForUpgrade()
      return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
    },
    judge: parent.judge,
    inquire: about => (parent.isConnected() ? parent.inquire(about) : inquireHere(processContext)(about)),
    installSignals,
    removeSignals
  }

  function onFailure(failure: CheckFailure): void {
    parent.unchecked(failure)
    application.log.warn({ generation, ...failure }, 'check failed')
  }

  /** What the others listen on, too, goes on without this one, and so do its connections. */
  function knowSiblings(): void {
    const hasSiblings = team.workers > 1
    listeners.share(hasSiblings)
    application.siblings = hasSiblings ? parent.offer : undefined
  }

  /** Where the one before it can't give connections, as over TLS, both accept. */
  function probe(): void {
    life.phase = 'probation'
    beside.probe({
      onErred: parent.erred,
      onCheckFailure: failure => void parent.judge('rollback', describeCheckFailure(failure)).catch(() => {})
    })
    listeners.upgrading(true) // the files of Unix sockets are the other one's
    const canBeGiven = application.options.handover === false ? () => false : isMovable
    listeners.serve(server => !canBeGiven(server))
    takeSignals()
  }

  function serve(dropped?: readonly string[]): void {
    const was = life.phase
    life.phase = 'serving'
    served.abort()
    parent.keepAlive(false)
    listeners.serve()
    void ready.then(() => listeners.dropUnclaimed(dropped)) // not ready yet if the master is lost: it may ask for more
    if (was !== 'probation') return takeSignals()
    void beside.over()
    listeners.upgrading(false)
  }

  function takeSignals(): void {
    const early = installed
    installed = undefined
    installSignals()
    early?.remove() // now, so that there is no moment without one of the two
    stopEarlyReload()
  }

  function installSignals(): void {
    if (!parent.isConnected()) return
    if (life.phase !== 'booting') installed ??= signals.closeAndReload()
    else if (inheritance.listeners.length === 0) installed ??= signals.closeWhileBooting()
  }

  function removeSignals(): void {
    own.leave()
    installed?.remove()
    installed = undefined
  }

  /** Clients would wait in the master's queue for nobody; but who takes the place of a crashed one needs the socket. */
  function withdraw(listener: Listener): void {
    if (life.phase !== 'crashed') parent.withdraw(listener)
  }

  function publish(listener: Listener): void {
    const handle = listeners.handle(listener)
    if (handle !== undefined) parent.publish(listener, handle, application.times)
  }

  /** The one that serves goes on alone: there is never no such generation, and never two. */
  function onLost(): void {
    listeners.off('listening', publish)
    listeners.off('stopped', withdraw)
    listeners.upgrading(false) // whoever was to follow ends too, or follows already
    application.siblings = undefined // no connection gets there any more
    if (end.isLost()) return
    const isNext = life.phase === 'booting' || life.phase === 'probation'
    if (isNext && inheritance.succeeds === 'worker') return end.endWithoutMaster()
    standardError.replace(inheritance.standardError)
    exchangeSignals(() => serveOn(isNext))
  }

  function serveOn(isNext: boolean): void {
    if (isNext) serve()
    void beside.over()
    const heir = team.heir()
    if (heir === undefined) return void goOnAlone()
    life.phase = 'orphaned' // there must not be several masters
    const succeed = () => exchangeSignals(goOnAlone)
    orphan = createOrphan(heir, { generation, team, application, succeed }, host)
  }

  function exchangeSignals<Result>(exchange: () => Result): Result {
    const { closeSignals, reloadSignal } = application.options
    return withoutGap([...(closeSignals || []), ...(reloadSignal ? [reloadSignal] : [])], host, exchange)
  }

  function goOnAlone(): Role {
    if (application.instances.size > 0) {
      application.log.warn({ generation }, 'master lost, this generation goes on as its own master')
    }
    removeSignals()
    return onAlone()
  }

  /** Whoever is the master now. */
  async function askForUpgrade(): Promise<UpgradeResult> {
    const role = orphan?.look()
    if (role !== undefined) return role.upgrade()
    if (orphan === undefined) return parent.upgrade()
    const { heir: master } = orphan
    application.log.warn(
      { generation, worker: team.worker, master },
      'master lost: another worker is the master now, ask that one for upgrades'
    )
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', `process ${master} is the master now`)
  }
}
