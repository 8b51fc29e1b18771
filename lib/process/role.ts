import type { Listeners } from '../listeners/listeners.js'
import type { Judge } from '../master/generation.js'
import type { RestartContext } from '../master/restart-context.js'
import type { StandardError } from '../master/standard-error.js'
import type { Inquire } from '../protocol/inquire.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import type { OwnListeners } from '../signals/own-listeners.js'
import type { Application } from './application.js'
import type { Beside } from './beside.js'
import type { TeamHere } from './team-here.js'

/** What this process is to the others: `standalone.ts` or `worker-role.ts`. */
export interface Role {
  /** Asks whoever is the master; rejects with a GracefulUpgradeError. */
  upgrade(): Promise<UpgradeResult>
  /** Tells whoever is the master what is to become of a generation on probation; rejects with a GracefulUpgradeError. */
  readonly judge: Judge
  /** Asks whoever is the master for what it knows of the whole service; where there is none, this process tells of itself. */
  readonly inquire: Inquire
  /** Installs what belongs to signals, if it isn't yet: an instance listens. */
  installSignals(): void
  /** Takes that back: the application has closed its last instance. */
  removeSignals(): void
}

/** What is one per process, and the same in every role. */
export interface ProcessContext {
  readonly generation: number
  readonly team: TeamHere
  readonly application: Application
  readonly listeners: Listeners
  readonly own: OwnListeners
  readonly beside: Beside
  readonly context: RestartContext
  /** To be called when no older generation serves beside this one: what only one may do, this one does from now on. */
  servesAlone(): void
  readonly standardError: StandardError & { replace(descriptor: number): void }
}
