import { EventEmitter } from 'node:events'
import type { GracefulUpgradeError } from '../errors.js'
import type { OpenListener } from '../listeners/address.js'
import type { Log } from '../log.js'
import type { ProbationStatus } from '../probation/probation.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { createBoot } from './boot.js'
import { abandoned, beginClosing } from './closing.js'
import { createDeaths } from './deaths.js'
import type { MasterEvents } from './events.js'
import { failureCode, type Generation, type Judge, type RelayFrom } from './generation.js'
import { disturbanceOf, type Phase, trialOf } from './phase.js'
import { createRelay } from './relay.js'
import { createReplacement } from './replacement.js'
import { createRespawn } from './respawn.js'
import { retire } from './retire.js'
import { createRoster, type GenerationEntry } from './roster.js'
import { type BalanceCounts, createScaling, type OnScaled, type TeamOptions } from './scaling.js'
import type { GenerationStart } from './spawn.js'
import { createKnownTicketKeys } from './ticket-keys.js'
import { createTrials, judgeTrial } from './trial.js'

/** The process that stays: it starts generations, and knows which one serves. */
export interface Master {
  readonly events: EventEmitter<MasterEvents>
  readonly state: Phase['name']
  /** The one that serves first, then one on probation or one that boots, then those that drain. */
  generations(): readonly GenerationEntry[]
  /** The one that serves, if there is one. */
  serving(): Generation | undefined
  /**
   * Starts the next generation, and lets it take over once it is ready, and has passed its probation, if it wants one; the old
   * one then drains in its own time.
   * @throws GRACEFUL_UPGRADE_IN_PROGRESS, _ON_PROBATION, _CLOSING, _SPAWN_FAILED, _EXITED, _READY_TIMEOUT, _CHECK_FAILED, _ROLLED_BACK, or
   * what
   * `whyNot` says; the old one serves on
   */
  upgrade(): Promise<UpgradeResult>
  /**
   * Ends a probation before its time. Resolves when the new generation serves alone, or is on its way out.
   * @throws GRACEFUL_UPGRADE_NO_PROBATION; GRACEFUL_UPGRADE_ROLLED_BACK if it was to be confirmed and fails
   */
  readonly judge: Judge
  /** How far a probation has come, if a generation is on it. */
  probation(): ({ readonly generation: number } & ProbationStatus) | undefined
  /** So many are wanted now. */
  readonly workers: number
  /**
   * Changes how many workers this generation, and each later one, has. Resolves with the number that serve then.
   * @throws GRACEFUL_UPGRADE_USAGE, _UNSUPPORTED, _IN_PROGRESS, _CLOSING; or why a new one failed: what was reached stays
   */
  scale(workers: number, onProgress?: OnScaled): Promise<number>
  /** What has been done to even out the load of several workers. */
  balance(): Readonly<BalanceCounts>
  readonly relay: RelayFrom
  /** Drains and ends every generation; resolves with the exit code of the one that served. Idempotent. */
  close(signal: NodeJS.Signals | null): Promise<number>
  /** A second signal after `close()`: all drain at once. @returns whether a `closeDelay` was under way */
  hurry(): boolean
  /** The application in this process has closed itself: an upgrade under way is given up. */
  abandon(): void
  /** Ends every child process at once. */
  kill(): void
}

export interface MasterOptions {
  /** The generation that serves; or the listeners that the first one is born with, which is started at once. */
  readonly first: Generation | readonly OpenListener[]
  readonly log: Log
  start(next: GenerationStart): Generation
  /** Where the code of a generation is, if that is known. */
  placeOf(generation: Generation): string | undefined
  /** For generations of several workers; undefined where there can't be any. */
  readonly team?: TeamOptions | undefined
  /** What keeps this process from an upgrade, though none is under way. */
  whyNot?(): GracefulUpgradeError | undefined
  /** Nobody serves any more: the first generation has failed, or the last one has left by itself or is given up. */
  onEnd(code: number): void
}

export function createMaster({ first, log, start, placeOf, team, whyNot, onEnd }: MasterOptions): Master {
  const events = new EventEmitter<MasterEvents>()
  const roster = createRoster()
  const respawn = createRespawn()
  const ticketKeys = createKnownTicketKeys()
  const lastNumber = 'number' in first ? first.number : 0
  const scaling = createScaling({ log, team, serving: undisturbed })
  const workers = () => scaling.workers
  const deaths = createDeaths({
    ...{ log, events, roster, respawn, replace },
    phase: () => phase,
    onEnd: () => end(0)
  })
  const relay = createRelay(() => phase, events)
  const judge: Judge = (verdict, reason) => judgeTrial(trialOf(phase), verdict, reason)
  const bootNext = createBoot({
    ...{ log, events, roster, lastNumber, workers, start, upgrade, judge, relay, isClosing },
    onErred(generation) {
      const trial = trialOf(phase)
      if (trial?.candidate === generation) trial.erred()
    }
  })
  const trials = createTrials({
    ...{ log, events, roster, placeOf },
    probe: candidate => candidate.probe(ticketKeys.get())
  })
  let phase: Phase = 'number' in first ? beginServing(first) : beginStarting(first)
  return {
    events,
    get state() {
      return phase.name
    },
    generations: roster.list,
    serving: roster.serving,
    upgrade,
    judge,
    probation: () => trialOf(phase)?.status(),
    get workers() {
      return scaling.workers
    },
    scale: scaling.scale,
    balance: () => ({ moved: 0, closed: 0, ...team?.balanced }),
    relay,
    close,
    hurry,
    abandon,
    kill
  }

  /** Nothing serves yet: whoever has started this process wants to know at once if nothing will. */
  function beginStarting(listeners: readonly OpenListener[]): Phase {
    const { next, result } = bootNext({ listeners, succeeds: 'none', failure: 'start failed' })
    result.then(
      () => {
        takeOver(next)
        next.alone()
      },
      async () => {
        if (isClosing()) return
        const ending = await next.ended
        if (!isClosing()) onEnd(failureCode(ending))
      }
    )
    return { name: 'starting', next }
  }

  function beginServing(current: Generation): Phase {
    roster.serves(current)
    deaths.watch(current)
    return { name: 'serving', current }
  }

  async function upgrade(): Promise<UpgradeResult> {
    try {
      const result = await beginUpgrade()
      events.emit('upgraded', result)
      return result
    } catch (error) {
      events.emit('notUpgraded', error as GracefulUpgradeError)
      throw error
    }
  }

  async function beginUpgrade(): Promise<UpgradeResult> {
    const reason = whyNot?.()
    if (reason !== undefined) throw refuse(reason)
    if (phase.name === 'serving' && !scaling.isUnderWay()) return upgradeFrom(phase.current)
    const attempt = phase.name === 'replacing' ? phase.replacement.skipPause() : undefined
    if (attempt !== undefined) return attempt
    throw refuse(disturbanceOf(phase))
  }

  /** @throws what is under way */
  function undisturbed(): Generation {
    if (phase.name === 'serving') return phase.current
    throw disturbanceOf(phase)
  }

  async function upgradeFrom(current: Generation): Promise<UpgradeResult> {
    const boot = bootNext({
      listeners: current.listeners(),
      succeeds: current.isHere && !current.hasOrphans?.() ? 'master' : 'worker',
      isCandidate: current.probation !== undefined,
      // Not earlier: the application may have other ones by now.
      onReady: () => ticketKeys.learnFrom(current)
    })
    phase = { name: 'upgrading', current, boot }
    current.upgrading(true)
    try {
      const result = await boot.result
      const trial = trials.begin(current, boot.next)
      if (trial !== undefined) phase = { name: 'probation', current, trial }
      const isComplete = await (trial?.passed ?? true)
      if (trial !== undefined) events.emit('ready', result) // nobody was told before
      takeOver(boot.next)
      void current.draining.then(boot.next.alone)
      respawn.served(roster.timeServed(current))
      void retire(current, { log, events, roster }, trial !== undefined)
      if (!isComplete) scaling.complete(boot.next)
      return result
    } catch (error) {
      if (!isClosing()) phase = { name: 'serving', current }
      current.upgrading(false)
      deaths.notice(current)
      throw error
    }
  }

  function refuse(error: GracefulUpgradeError): GracefulUpgradeError {
    log.warn({ err: error }, 'upgrade refused')
    events.emit('refused', error)
    return error
  }

  function takeOver(next: Generation): void {
    next.serve(ticketKeys.get())
    phase = beginServing(next)
    void ticketKeys.learnFrom(next) // in case that it dies
  }

  function replace(dead: Generation): void {
    const replacement = createReplacement(dead, {
      log,
      respawn,
      boot: isAsked =>
        bootNext({ listeners: dead.listeners(), succeeds: 'none', release: isAsked ? undefined : dead }),
      onReady(next) {
        takeOver(next)
        void dead.draining.then(next.alone)
      },
      onGiveUp: () => end(1)
    })
    phase = { name: 'replacing', replacement }
    replacement.begin()
  }

  function end(code: number): void {
    void close(null).then(() => onEnd(code))
  }

  function close(signal: NodeJS.Signals | null): Promise<number> {
    if (phase.name === 'closing') return phase.done
    const closing = beginClosing(phase, { roster, signal })
    phase = closing.phase
    events.emit('closing', closing.endTimeout)
    closing.closeAll() // in this order: what it calls may ask for an upgrade
    return closing.phase.done
  }

  function hurry(): boolean {
    const generations = isClosing() ? roster.list().map(({ generation }) => generation) : []
    return generations.map(generation => generation.hurry()).includes(true)
  }

  function abandon(): void {
    phase = abandoned(phase, roster)
  }

  function kill(): void {
    if (isClosing()) for (const { generation } of roster.list()) generation.kill()
  }

  function isClosing(): boolean {
    return phase.name === 'closing'
  }
}
