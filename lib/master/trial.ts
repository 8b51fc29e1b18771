import type { EventEmitter } from 'node:events'
import { GracefulUpgradeError } from '../errors.js'
import { removeFileOf } from '../listeners/unix-socket.js'
import type { Log } from '../log.js'
import { beginProbation, type Outcome, type ProbationStatus } from '../probation/probation.js'
import { now } from '../time/clock.js'
import { wantsProbation } from './boot.js'
import type { MasterEvents } from './events.js'
import { type Generation, type Judge, nameOf } from './generation.js'
import { retire } from './retire.js'
import type { Roster } from './roster.js'

export interface TrialsOptions {
  readonly log: Log
  readonly events: EventEmitter<MasterEvents>
  readonly roster: Roster
  /** Lets it serve beside the one that serves. */
  probe(candidate: Generation): void
  /** Where the code of a generation is, if that is known. */
  placeOf(generation: Generation): string | undefined
}

export interface Trials {
  /**
   * Puts a generation on probation beside the one that serves, which gives what it shall from now on.
   * @returns undefined if it wants none, or one of the two doesn't know how
   */
  begin(current: Generation, next: Generation): Trial | undefined
}

/** A generation on probation. */
export interface Trial {
  readonly candidate: Generation
  /**
   * Resolves when the candidate is to serve alone, with whether all of its workers are there. If it fails, rejects when it
   * drains already.
   * @throws GRACEFUL_UPGRADE_ROLLED_BACK, _CLOSING
   */
  readonly passed: Promise<boolean>
  readonly judge: Judge
  status(): { readonly generation: number } & ProbationStatus
  /** It has answered with an error. */
  erred(): void
  /** Nobody is to serve any more. */
  giveUp(): void
}

/** @throws GRACEFUL_UPGRADE_NO_PROBATION if there is none; what its `judge` throws */
export async function judgeTrial(trial: Trial | undefined, ...verdict: Parameters<Judge>): Promise<void> {
  if (trial === undefined) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_NO_PROBATION')
  await trial.judge(...verdict)
}

export function createTrials({ log, events, roster, probe, placeOf }: TrialsOptions): Trials {
  /** The release that was rolled back last. */
  let refused: string | undefined
  return { begin }

  function begin(current: Generation, candidate: Generation): Trial | undefined {
    const terms = candidate.probation
    if (terms === undefined || !wantsProbation(candidate)) return undefined
    const { time, share, errorRate } = terms
    const name = { ...nameOf(candidate), release: placeOf(candidate) }
    if (current.probation === undefined) {
      log.warn(name, 'no probation: the generation that serves has a version of this package that knows none')
      return undefined
    }
    if (refused !== undefined && refused === name.release)
      log.warn(name, 'this release was rolled back before')
    const begun = now()
    roster.probes(candidate)
    probe(candidate)
    current.beside(share)
    log.info({ ...name, ms: time, share }, 'generation on probation')
    const onLook = () => events.emit('probation', candidate, probation.status())
    const probation = beginProbation({ candidate, current, time, errorRate, onLook })
    onLook()
    const passed = probation.outcome.then(onOutcome)
    passed.catch(() => {}) // whoever wants to know waits for it
    return {
      candidate,
      passed,
      async judge(verdict, reason) {
        if (verdict === 'confirm') probation.confirm(reason)
        else probation.end({ name: 'failed', reason })
        await passed.catch(error => {
          if (verdict === 'confirm') throw error
        })
      },
      status: () => ({ generation: candidate.number, ...probation.status() }),
      erred: probation.erred,
      giveUp: () => probation.end({ name: 'closing' })
    }

    function onOutcome(outcome: Outcome): boolean {
      current.beside(null)
      if (outcome.name === 'closing') throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
      const ms = Math.round(now() - begun)
      events.emit('judged', candidate, ms)
      if (outcome.name === 'failed') throw rollBack(outcome, ms)
      if (refused === name.release) refused = undefined
      log.info({ ...name, ms, reason: outcome.reason, ...answered() }, 'generation confirmed')
      return outcome.name === 'confirmed'
    }

    /** Its connections go back; if it hangs nothing of it can be saved, and the other one has never stopped accepting. */
    function rollBack({ reason, hangs }: Extract<Outcome, { name: 'failed' }>, ms: number): Error {
      refused = name.release
      if (hangs) candidate.kill()
      const detail = `generation ${candidate.number}${refused === undefined ? '' : ` (${refused})`}: ${reason}`
      const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_ROLLED_BACK', detail)
      log.error({ ...name, ms, err: error, ...answered() }, 'generation rolled back')
      events.emit('failed', candidate, error, ms)
      void endOf(candidate)
      return error
    }

    /** What only it has opened is nobody's then. */
    async function endOf(candidate: Generation): Promise<void> {
      const shared = current.listeners().map(({ key }) => key)
      const own = candidate.listeners().filter(({ key }) => !shared.includes(key))
      await retire(candidate, { log, events, roster }, true)
      for (const listener of own) removeFileOf(listener)
    }

    function answered() {
      const { candidate, current } = probation.status()
      return { candidate, current }
    }
  }
}
