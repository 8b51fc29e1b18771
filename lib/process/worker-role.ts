import { setTimeout as sleep } from 'node:timers/promises'
import { isMovable } from '../connections/server-kind.js'
import { GracefulUpgradeError } from '../errors.js'
import { createTicketInheritance, readTicketKeys } from '../handover/session-tickets.js'
import type { Listener } from '../listeners/listeners.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import { describeCheckFailure } from '../protocol/check-failure.js'
import type { Inheritance } from '../protocol/inheritance.js'
import { writeLine } from '../protocol/log-line.js'
import { type Host, thisHost } from '../signals/host.js'
import { connectParent } from './parent.js'
import type { ProcessContext, Role } from './role.js'
import { passSelfCheck } from './self-check.js'
import { createSharer, nothingShared } from './sharer.js'
import { takeInto } from './take.js'
import { termsOf } from './terms.js'
import { createWorkerSignals, type Installed } from './worker-signals.js'

/** What it may take to tell the master something, in milliseconds: a master that is stopped hears nothing. */
const reportTime = 1_000

/** What a worker was born with. */
export interface Birth {
  readonly inheritance: Inheritance
  /** Resolves when it can serve, with the keys of what it has inherited and doesn't want. */
  readonly ready: Promise<readonly string[]>
  /** The master is gone: this generation is on its own. */
  onAlone(): void
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
  const signals = createWorkerSignals(
    processContext,
    {
      upgrade: () => parent.upgrade().then(undefined, () => {}), // the master logs it
      leave,
      close: error => (error === undefined ? end() : crash())
    },
    host
  )
  /**
   * 'probation': it serves what the generation before it gives; 'leaving': a signal has asked it alone to end, and it serves until another one takes its place; 'crashed' by an error:
   * it ends, and another one takes its place; 'closing': the master has said that all shall end; 'orphaned': it has no master, and another worker is the master now.
   */
  let phase: 'booting' | 'probation' | 'serving' | 'leaving' | 'crashed' | 'closing' | 'orphaned' = 'booting'
  let installed: Installed | undefined
  /** Aborted from then on: a generation whose master is lost serves unchecked. */
  const served = new AbortController()

  listeners.on('listening', publish)
  listeners.on('stopped', withdraw)
  listeners.on('listening', tickets.claim)
  listeners.once('claimed', () => parent.keepAlive(phase === 'booting'))
  void ready.then(async unclaimed => {
    await passSelfCheck(application, { onAsk: parent.asks, onFailure, over: served.signal })
    const published = listeners.open().map(({ key }) => key)
    parent.ready(unclaimed, published, application.endTimeout, termsOf(application.options))
  })
  parent.on('ticketKeys', ticketKeys => {
    tickets.give(ticketKeys)
    for (const listener of listeners.live()) tickets.claim(listener)
  })
  parent.once('probe', probe)
  parent.on('beside', share => {
    if (share === null) void beside.over()
    else beside.give(application.options.handover === false ? 0 : share, parent.offer)
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
    const isWanted = phase === 'serving' && !application.ending && application.options.handover !== false
    void (isWanted ? sharer.share(request) : Promise.resolve(nothingShared)).then(answer)
  })
  parent.once('retire', isUrgent => void retire(isUrgent))
  parent.on('close', onCloseRequest)
  parent.once('lost', onLost)
  const stopEarlyReload = signals.reloadWhileBooting()

  return {
    upgrade() {
      if (phase !== 'booting' && !application.ending) return parent.upgrade()
      return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
    },
    judge: parent.judge,
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
    phase = 'probation'
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
    const was = phase
    phase = 'serving'
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
    if (phase !== 'booting') installed ??= signals.closeAndReload()
    else if (inheritance.listeners.length === 0) installed ??= signals.closeWhileBooting()
  }

  function removeSignals(): void {
    own.leave()
    installed?.remove()
    installed = undefined
  }

  async function retire(isUrgent: boolean): Promise<void> {
    if (beside.role !== undefined) await beside.over()
    host.exit(await makeWay(lastWord, isUrgent))
  }

  /** Its siblings serve on, and so does the master: it says when this one can go. */
  function leave(): boolean {
    if (phase === 'leaving') return true
    if (phase !== 'probation' && (phase !== 'serving' || team.workers === 1)) return false
    phase = 'leaving'
    parent.leaving()
    return true
  }

  /** Where it is orphaned the others serve on, but no connection gets there. */
  function end(): Promise<0 | 1> {
    return application.end(phase === 'orphaned' ? 'upgrade' : 'close')
  }

  function crash(): Promise<0 | 1> {
    phase = 'crashed'
    parent.dying()
    return makeWay()
  }

  /** Another one serves, or will: its connections go there. */
  async function makeWay(onDrained?: () => Promise<void>, isUrgent?: boolean): Promise<0 | 1> {
    const ended = application.end('upgrade', { relay: parent.offer, onDrained, isUrgent })
    parent.draining()
    const code = await ended
    await tellReport()
    return phase === 'crashed' ? 1 : code
  }

  /** The last request is answered: the application does now what it does at its end, which may be to exit. */
  async function lastWord(): Promise<void> {
    const { retireSignal } = application.options
    if (retireSignal === false || signals.hasReceived(retireSignal)) return
    await tellReport()
    signals.tellOwn(retireSignal)
  }

  async function tellReport(): Promise<void> {
    const report = application.report()
    if (report !== null) await Promise.race([parent.drained(report), sleep(reportTime)])
  }

  /** The master passes on that all shall end. */
  function onCloseRequest(signal: NodeJS.Signals | null): void {
    application.siblings = undefined
    listeners.share(false) // the last one removes the files
    const was = phase
    void beside.over()
    if (was === 'probation') listeners.upgrading(false)
    if (was !== 'crashed') phase = 'closing'
    if (was === 'crashed') void application.end('close') // its own end has begun, but now nobody follows
    if (was === 'leaving') return void application.end('close').then(host.exit)
    if (installed !== undefined) installed.close(signal)
    else if (application.instances.size === 0 && !application.ending) host.exit(0)
    else void application.end('close').then(code => host.exit(code))
  }

  /** Clients would wait in the master's queue for nobody; but who takes the place of a crashed one needs the socket. */
  function withdraw(listener: Listener): void {
    if (phase !== 'crashed') parent.withdraw(listener)
  }

  function publish(listener: Listener): void {
    const handle = listeners.handle(listener)
    if (handle !== undefined) parent.publish(listener, handle, application.endTimeout)
  }

  /** The one that serves goes on alone: there is never no such generation, and never two. */
  function onLost(): void {
    listeners.off('listening', publish)
    listeners.off('stopped', withdraw)
    listeners.upgrading(false) // whoever was to follow ends too, or follows already
    if (phase === 'crashed') void application.end('close') // maybe nobody follows
    if (phase === 'leaving') return void application.end('close').then(host.exit)
    if (application.ending) return
    const isNext = phase === 'booting' || phase === 'probation'
    if (isNext && inheritance.succeeds === 'worker') return endWithoutMaster()
    standardError.replace(inheritance.standardError)
    if (isNext) serve()
    void beside.over()
    if (team.heir !== undefined && team.heir !== host.pid) return beWithoutMaster(team.heir)
    if (application.instances.size > 0) {
      application.log.warn({ generation }, 'master lost, this generation goes on as its own master')
    }
    removeSignals()
    onAlone()
  }

  /** The one before it serves on; there must not be two. */
  function endWithoutMaster(): void {
    if (phase === 'booting') return host.exit(1)
    void beside.over()
    void application.end('close').then(() => host.exit(1))
  }

  /** Of several workers one is the master now; there must not be several. It serves on, until it is told to end. */
  function beWithoutMaster(master: number): void {
    phase = 'orphaned'
    if (application.instances.size === 0) return
    application.log.error(
      { generation, worker: team.worker, master },
      'master lost: another worker is the master now; this one serves until that is upgraded, or SIGTERM'
    )
  }
}
