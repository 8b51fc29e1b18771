import type { DrainReport } from '../drain/report.js'

/** One change of versions: an upgrade; or a restart, where that is what is compared. Times are in milliseconds. */
export interface Change {
  /** From 1 on. */
  readonly number: number
  /** From the beginning of the load. */
  readonly at: number
  /** The one that it has led to, or would have. */
  readonly generation?: number
  /** Until the new one served; undefined if it never did. */
  readonly boot?: number
  /** From then on until the old one had ended; undefined if it had not by the end. */
  readonly drain?: number
  readonly failure?: { readonly code: string; readonly message: string; readonly lastWords?: string }
  /** How the old one has ended, where that was not as it should be: `exit code 1`, `SIGKILL`. */
  readonly badEnd?: string
  /** What became of its connections. */
  readonly report?: DrainReport
}

export type Outcome = Omit<Change, 'number' | 'at'>

/** A change that goes on. */
export interface UnderWay {
  /** Resolves when the new version serves, or has failed. */
  readonly ready: Promise<Outcome>
  /** Resolves when the old one has ended, too. */
  readonly over: Promise<Outcome>
}
