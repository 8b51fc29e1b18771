import type { Application } from './application.js'
import type { Listeners } from './listeners.js'
import type { UpgradeResult } from './protocol.js'
import type { RestartContext } from './restart-context.js'
import type { StandardError } from './standard-error.js'

/** What this process is to the others: `role-master.ts` or `role-worker.ts`. */
export interface Role {
  /** Asks whoever is the master; rejects with a GracefulUpgradeError. */
  upgrade(): Promise<UpgradeResult>
  /** Installs what belongs to signals, if it isn't yet: an instance listens. */
  enter(): void
  /** Takes that back: the application has closed its last instance. */
  leave(): void
}

/** What is one per process, and the same in every role. */
export interface Household {
  readonly generation: number
  readonly application: Application
  readonly listeners: Listeners
  readonly context: RestartContext
  readonly standardError: StandardError & { replace(descriptor: number): void }
}

/** What a master passes on to its worker whatever the application's `closeSignals` are. */
export const passedOn: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT']
