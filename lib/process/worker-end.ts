import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../signals/host.js'
import type { Parent } from './parent.js'
import type { ProcessContext } from './role.js'
import type { Installed, WorkerSignals } from './worker-signals.js'

/** What it may take to tell the master something, in milliseconds: a master that is stopped hears nothing. */
const reportTime = 1_000

/** What a worker is doing, as all parts of its role know it. */
export interface WorkerLife {
  /**
   * 'probation': it serves what the generation before it gives; 'leaving': a signal has asked it alone to end, and it serves until another one takes its place; 'crashed' by an error:
   * it ends, and another one takes its place; 'closing': the master has said that all shall end; 'orphaned': it has no master, and another worker is the master now.
   */
  phase: 'booting' | 'probation' | 'serving' | 'leaving' | 'crashed' | 'closing' | 'orphaned'
}

/** The ways in which a worker ends. */
export interface WorkerEnd {
  /** A next one serves. */
  retire(isUrgent: boolean): Promise<void>
  /**
   * A signal has come to this one. Its siblings serve on, and so does the master: it says when this one can go.
   * @returns whether it serves on until then
   */
  leave(): boolean
  /** A signal has come, or an uncaught error. */
  close(error: Error | undefined): Promise<0 | 1>
  /** A second signal: no delay any more, unless the master says when. */
  hurry(): void
  /** The master passes on that all shall end; and then that the delay is to be skipped. */
  closeAsAsked(signal: NodeJS.Signals | null): void
  /** There is no master any more. @returns whether it ends, for whatever reason */
  isLost(): boolean
  /** The one before it serves on, without a master; there must not be two. */
  endWithoutMaster(): void
}

export interface WorkerEndOptions {
  readonly parent: Parent
  readonly host: Host
  signals(): WorkerSignals
  installed(): Installed | undefined
}

export function createWorkerEnd(
  { team, application, listeners, beside }: ProcessContext,
  life: WorkerLife,
  { parent, host, signals, installed }: WorkerEndOptions
): WorkerEnd {
  return {
    retire,
    leave,
    close: error => (error === undefined ? end() : crash()),
    hurry() {
      if (life.phase !== 'closing' || !parent.isConnected()) application.hurry()
    },
    closeAsAsked,
    isLost,
    endWithoutMaster
  }

  async function retire(isUrgent: boolean): Promise<void> {
    if (beside.role !== undefined) await beside.over()
    host.exit(await makeWay(lastWord, isUrgent))
  }

  function leave(): boolean {
    const { phase } = life
    if (phase === 'leaving') return true
    if (phase !== 'probation' && (phase !== 'serving' || team.workers === 1)) return false
    life.phase = 'leaving'
    parent.leaving()
    return true
  }

  /** Where it is orphaned the others serve on, but no connection gets there. */
  function end(): Promise<0 | 1> {
    return life.phase === 'orphaned' ? application.end('upgrade') : application.close(parent.draining)
  }

  async function crash(): Promise<0 | 1> {
    const isAlone = life.phase === 'closing' || !parent.isConnected()
    if (life.phase !== 'closing') life.phase = 'crashed'
    if (isAlone) {
      await application.end('close') // nobody takes its connections
      return 1
    }
    parent.dying()
    return makeWay()
  }

  /** Another one serves, or will: its connections go there. */
  async function makeWay(onDrained?: () => Promise<void>, isUrgent?: boolean): Promise<0 | 1> {
    const ended = application.end('upgrade', { relay: parent.offer, onDrained, isUrgent })
    parent.draining()
    const code = await ended
    await tellReport()
    return life.phase === 'crashed' ? 1 : code
  }

  /** The last request is answered: the application does now what it does at its end, which may be to exit. */
  async function lastWord(): Promise<void> {
    const { retireSignal } = application.options
    if (retireSignal === false || signals().hasReceived(retireSignal)) return
    await tellReport()
    signals().tellOwn(retireSignal)
  }

  async function tellReport(): Promise<void> {
    const report = application.report()
    if (report !== null) await Promise.race([parent.drained(report), sleep(reportTime)])
  }

  function closeAsAsked(signal: NodeJS.Signals | null): void {
    const was = life.phase
    if (was === 'closing') return void application.hurry()
    application.siblings = undefined
    listeners.share(false) // the last one removes the files
    void beside.over()
    if (was === 'probation') listeners.upgrading(false)
    if (was === 'crashed')
      void application.end('close') // its own end has begun, but now nobody follows
    else life.phase = 'closing'
    if (was === 'leaving') return void application.close(parent.draining).then(host.exit)
    const taken = installed()
    if (taken !== undefined) return taken.close(signal)
    parent.draining()
    if (application.instances.size === 0 && !application.ending) host.exit(0)
    else void application.end('close').then(host.exit)
  }

  /** Nobody could skip a delay any more. */
  function isLost(): boolean {
    const wasClosing = application.isClosing && application.hurry() // one that has not begun may come yet
    if (life.phase === 'crashed') void application.end('close') // maybe nobody follows
    if (life.phase === 'leaving') void application.end('close').then(host.exit)
    return wasClosing || application.ending
  }

  function endWithoutMaster(): void {
    if (life.phase === 'booting') return host.exit(1)
    void beside.over()
    void application.end('close').then(() => host.exit(1))
  }
}
