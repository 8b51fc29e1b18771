import type { EventEmitter } from 'node:events'
import { GracefulUpgradeError } from '../errors.js'
import type { OpenListener } from '../listeners/address.js'
import type { Log } from '../log.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { now } from '../time/clock.js'
import type { MasterEvents } from './events.js'
import { type Generation, mainPid, type RelayFrom } from './generation.js'
import type { Roster } from './roster.js'
import type { GenerationStart, WorkerStart } from './spawn.js'

/** A generation on its way to serve. */
export interface Boot {
  readonly next: Generation
  /** Resolves when it can take over; if it fails it is ended, and that is logged. */
  readonly result: Promise<UpgradeResult>
  /** It is not wanted any more. */
  giveUp(): void
}

export interface BootOptions {
  readonly log: Log
  readonly events: EventEmitter<MasterEvents>
  readonly roster: Roster
  /** Of the generation before the first one that is started. */
  readonly lastNumber: number
  /** So many workers a generation begins with. */
  workers(): number
  start(next: GenerationStart): Generation
  readonly upgrade: WorkerStart['onUpgrade']
  readonly judge: WorkerStart['onJudge']
  /** One that is on probation has answered with an error. */
  onErred(generation: Generation): void
  readonly relay: RelayFrom
  /** Nobody is to serve any more. */
  isClosing(): boolean
}

export interface BootRequest {
  /** Those it is born with. */
  readonly listeners: readonly OpenListener[]
  readonly succeeds: WorkerStart['succeeds']
  /** Whose code it runs. @default what is there now */
  readonly release?: Generation | undefined
  /** It may go on probation. */
  readonly isCandidate?: boolean
  /** Is waited for before the result is told. */
  onReady?(): Promise<unknown>
  /** What the log says of its failure. @default 'upgrade failed' */
  readonly failure?: string
}

/** @throws GRACEFUL_UPGRADE_SPAWN_FAILED if it can't be started at all */
export type BootNext = (request: BootRequest) => Boot

export function createBoot(options: BootOptions): BootNext {
  const { log, events, roster, lastNumber, upgrade, judge, relay, isClosing } = options
  let number = lastNumber // none is given twice
  return function bootNext(request) {
    const begun = now()
    const next = start(request)
    roster.boots(next)
    events.emit('booting', next)
    return { next, result: whenReady(next, begun, request), giveUp: () => giveUp(next) }
  }

  function start({ listeners, succeeds, release, isCandidate = false }: BootRequest): Generation {
    try {
      const next: Generation = options.start({
        number: ++number,
        listeners,
        succeeds,
        workers: options.workers(),
        release,
        isCandidate,
        onUpgrade: upgrade,
        onJudge: judge,
        onErred: () => options.onErred(next),
        onWorkerReady: (worker, pid, ms) => events.emit('workerReady', next, { worker, pid }, ms),
        onMoved: () => events.emit('moved', 'sideways'),
        onRestart: reason => events.emit('restart', reason),
        onUnchecked: (worker, failure) => events.emit('unchecked', next, worker, failure),
        onOffer: (offer, handle) => relay(next, offer, handle)
      })
      return next
    } catch (cause) {
      const { message } = cause as Error
      const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', message, { cause })
      log.error({ err: error, generation: number }, 'upgrade failed')
      events.emit('refused', error)
      throw error
    }
  }

  async function whenReady(
    next: Generation,
    begun: number,
    { onReady, isCandidate = false, failure = 'upgrade failed' }: BootRequest
  ): Promise<UpgradeResult> {
    const { number: generation } = next
    const pid = mainPid(next)
    try {
      const unclaimed = await next.ready
      const ms = Math.round(now() - begun)
      if (onReady !== undefined) await Promise.race([onReady(), failsToLive(next)])
      if (isClosing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
      const result = { generation, pid, ms }
      // What follows from that it serves, as a pid file, is there when the log says so.
      if (!isCandidate || !wantsProbation(next)) events.emit('ready', result)
      log.info({ generation, generationPid: pid, ms, unclaimed }, 'generation ready')
      return result
    } catch (error) {
      events.emit('failed', next, error as GracefulUpgradeError, Math.round(now() - begun))
      // The first generation may have clients before it is ready: it may drain.
      if (!roster.isDraining(next)) giveUp(next)
      void next.ended.then(() => next.release())
      if (isClosing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING', undefined, { cause: error })
      log.error({ err: error, generation, generationPid: pid || undefined }, failure)
      throw error
    }
  }

  function giveUp(next: Generation): void {
    next.kill()
    roster.gone(next)
  }
}

/** Whether it is not to serve alone at once, if it may not have to. */
export function wantsProbation({ probation }: Generation): boolean {
  return probation !== undefined && probation.time > 0
}

/** Rejects when a generation dies that was ready, but serves nothing yet. */
export async function failsToLive(generation: Generation): Promise<never> {
  const { number, ended, dying } = generation
  await Promise.race([ended, dying])
  const detail = `generation ${number} (pid ${mainPid(generation)}) ended`
  throw new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', detail)
}
