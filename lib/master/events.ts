import type { GracefulUpgradeError } from '../errors.js'
import type { ProbationStatus } from '../probation/probation.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import type { Generation, Retirement } from './generation.js'

/** Where a connection goes: to a later generation, to the one before, or to another worker of its own. */
export type Direction = 'forward' | 'back' | 'sideways'

/** Why a worker is replaced by one of the same release: `signal`, and `memory`, while it serves yet. */
export type RestartReason = 'died' | 'ended' | 'signal' | 'memory'

/** What a master tells whoever follows it. */
export interface MasterEvents {
  booting: [Generation]
  /** One worker of several can serve, and waits for the others; so long, in milliseconds, after its start. */
  workerReady: [Generation, { readonly worker: number; readonly pid: number }, number]
  /** It listens, but fails its check, as far as nobody was told yet; of several workers this one does. */
  unchecked: [Generation, worker: number | undefined, CheckFailure]
  /** It serves beside the one that serves; told again and again, as it goes on. */
  probation: [Generation, ProbationStatus]
  /** It serves now. */
  ready: [UpgradeResult]
  /** It never will; so long, in milliseconds, after its start. */
  failed: [Generation, GracefulUpgradeError, number]
  /** So long, in milliseconds, after it began to drain. */
  retired: [Generation, Retirement, number]
  /** An upgrade was asked for, and none has begun. */
  refused: [GracefulUpgradeError]
  /** An upgrade that was asked for has succeeded. */
  upgraded: [UpgradeResult]
  /** Or it hasn't: it has failed, or was refused. */
  notUpgraded: [GracefulUpgradeError]
  /** A probation is over; so long, in milliseconds, after it began. */
  judged: [Generation, number]
  /** A connection has arrived, open, in another process. */
  moved: [Direction]
  /** Another worker is started in the place of one. */
  restart: [RestartReason]
  closing: [endTimeout: number]
}
