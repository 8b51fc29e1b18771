import { GracefulUpgradeError } from '../errors.js'
import type { Log } from '../log.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { pause as wait } from '../time/pause.js'
import type { Boot } from './boot.js'
import type { Generation } from './generation.js'
import type { Respawn } from './respawn.js'

/** One dead generation, and the attempts to put another one in its place. */
export interface Replacement {
  /** Its sockets are what the next one inherits. */
  readonly dead: Generation
  begin(): void
  /** Ends the pause, if there is one. @returns how the attempt behind it goes, or undefined if one is under way */
  skipPause(): Promise<UpgradeResult> | undefined
  /** Nobody is to follow any more. */
  stop(): void
}

export interface ReplacementOptions {
  readonly log: Log
  readonly respawn: Respawn
  /** @param isAsked somebody wants the attempt now: it may be a new version that mends what the dead one has died of */
  boot(isAsked: boolean): Boot
  onReady(next: Generation): void
  /** Too many attempts have failed. */
  onGiveUp(): void
  /** Resolves after so many milliseconds, or when it is aborted. */
  pause?(ms: number, signal: AbortSignal): Promise<unknown>
}

type Step =
  | { readonly name: 'pausing'; readonly attempt: Promise<UpgradeResult>; readonly skip: AbortController }
  | { readonly name: 'booting'; readonly boot: Boot }
  | { readonly name: 'over' }

export function createReplacement(dead: Generation, options: ReplacementOptions): Replacement {
  const { log, respawn, boot, onReady, onGiveUp, pause = wait } = options
  let step: Step = { name: 'over' }
  return {
    dead,
    begin,
    skipPause() {
      if (step.name !== 'pausing') return undefined
      step.skip.abort()
      return step.attempt
    },
    stop() {
      if (step.name === 'pausing') step.skip.abort()
      if (step.name === 'booting') step.boot.giveUp()
      step = { name: 'over' }
    }
  }

  function begin(): void {
    const ms = respawn.nextPause()
    if (ms === undefined) return giveUp()
    const skip = new AbortController()
    const attempt = attemptAfter(pause(ms, skip.signal), skip.signal)
    step = { name: 'pausing', attempt, skip }
    attempt.catch(() => {
      if (step.name !== 'over') begin()
    })
  }

  function giveUp(): void {
    step = { name: 'over' }
    const detail = `${respawn.attempts} attempts in a row; look for the reason in the lines above, and start it again`
    log.fatal({ err: new GracefulUpgradeError('GRACEFUL_UPGRADE_GAVE_UP', detail) }, 'given up')
    onGiveUp()
  }

  async function attemptAfter(paused: Promise<unknown>, skip: AbortSignal): Promise<UpgradeResult> {
    await paused
    if (step.name === 'over') throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
    const booted = boot(skip.aborted)
    step = { name: 'booting', boot: booted }
    const result = await booted.result
    step = { name: 'over' }
    onReady(booted.next)
    dead.release()
    return result
  }
}
