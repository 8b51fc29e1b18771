import { GracefulUpgradeError } from '../errors.js'
import type { Boot } from './boot.js'
import type { Generation } from './generation.js'
import type { Replacement } from './replacement.js'
import type { Trial } from './trial.js'

/** What a master is doing, and with whom. */
export type Phase =
  | { readonly name: 'starting'; readonly next: Generation }
  | { readonly name: 'serving'; readonly current: Generation }
  | { readonly name: 'upgrading'; readonly current: Generation; readonly boot: Boot }
  | { readonly name: 'probation'; readonly current: Generation; readonly trial: Trial }
  /** The worker that served has died. */
  | { readonly name: 'replacing'; readonly replacement: Replacement }
  | { readonly name: 'closing'; readonly done: Promise<number> }

/** The one whose exit code counts. The first generation may have clients before it is ready: what it listens on is its own. */
export function lastOf(phase: Phase): Generation | undefined {
  if ('current' in phase) return phase.current
  return phase.name === 'starting' ? phase.next : undefined
}

/** Who gets what a generation gives: that on probation what the one that serves gives, and the one that serves all else. */
export function takerOf(phase: Phase, from: Generation): Generation | undefined {
  if (!('current' in phase)) return undefined
  if (phase.current !== from) return phase.current
  return trialOf(phase)?.candidate
}

/** Of the generation that is on probation, if one is. */
export function trialOf(phase: Phase): Trial | undefined {
  return phase.name === 'probation' ? phase.trial : undefined
}

/** Why a master that isn't just serving can't begin with what it is asked for. */
export function disturbanceOf({ name }: Phase): GracefulUpgradeError {
  if (name === 'closing') return new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
  return new GracefulUpgradeError(`GRACEFUL_UPGRADE_${name === 'probation' ? 'ON_PROBATION' : 'IN_PROGRESS'}`)
}
