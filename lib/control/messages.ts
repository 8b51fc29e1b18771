/** What `graceful-upgrade reload`, or another command, and a running master say to each other. */

import type { ConnectionCounts } from '../connections/state.js'
import type { HoldUp } from '../drain/hold-up.js'
import type { DrainReport } from '../drain/report.js'
import type { ErrorCode } from '../errors.js'
import type { ListenerAddress } from '../listeners/address.js'
import type { BalanceCounts } from '../master/scaling.js'
import type { ProbationStatus } from '../probation/probation.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'

/** One generation, as its master sees it. */
export interface GenerationStatus {
  readonly generation: number
  /** Null if it could not be started. */
  readonly pid: number | null
  /** 'closing': a signal has ended it, and it serves on for `closeDelay`. */
  readonly state: 'booting' | 'probation' | 'serving' | 'closing' | 'draining'
  /** For how long it has been in this state, in milliseconds. */
  readonly ms: number
  /** Of all its instances and workers; null where it doesn't answer in time. */
  readonly connections: ConnectionCounts | null
  /** While it drains, what it waits for, if there is something: the oldest requests first, and no more than five. */
  readonly heldUpBy?: readonly HoldUp[]
  /** An older version doesn't say so. */
  readonly workers?: readonly WorkerStatus[]
}

/** One process of a generation. */
export interface WorkerStatus {
  /** From 0 on. */
  readonly worker: number
  readonly pid: number
  readonly state: GenerationStatus['state']
  /** How often this place was taken by a new process since the generation began. */
  readonly restarts: number
  /** Null where it doesn't answer in time. */
  readonly connections: ConnectionCounts | null
  /** CPU time in cores, since the look before this one: 1 is one core all the time. Null as above. */
  readonly cpu: number | null
  /** Resident set size, in bytes. */
  readonly rss: number | null
  /** Share of the time in which its event loop was busy, since the look before this one: from 0 to 1. */
  readonly elu: number | null
}

/** One upgrade that is over, or a dead worker that was replaced. */
export interface UpgradeRecord {
  readonly generation: number
  /** Null if it could not be started. */
  readonly pid: number | null
  /** When it was asked for: milliseconds since 1970. */
  readonly at: number
  /** From the start of its process until it was ready or had failed, in milliseconds. */
  readonly ms: number
  /** 'ready', or why it failed. */
  readonly result: 'ready' | ErrorCode
  readonly message?: string
  /**
   * What became of the connections of the generation before it, once that has retired; of its own, if it was rolled back. Null if
   * that didn't say.
   */
  readonly report?: DrainReport | null
}

/** The answer to `status`: `graceful-upgrade status --json` prints it as it is. */
export interface Status {
  /** The master's process. */
  readonly pid: number
  readonly mode: 'standalone' | 'supervised'
  /** Version of this package, as the master has loaded it. */
  readonly pluginVersion: string
  /** Of the service, as the shell saw it. */
  readonly directory: string
  /** Of the master, in milliseconds. */
  readonly uptime: number
  readonly state: 'starting' | 'serving' | 'upgrading' | 'probation' | 'replacing' | 'closing'
  /** The one that serves first, then one that boots, then those that drain. */
  readonly generations: readonly GenerationStatus[]
  readonly listeners: readonly ListenerAddress[]
  /** What has been done to even out the load of several workers since the master began; an older version doesn't say so. */
  readonly balance?: BalanceCounts
  /** Of the generation that is on it, if there is one; an older version doesn't say so. */
  readonly probation?: ({ readonly generation: number } & ProbationStatus) | undefined
  /** The last ten, the newest first. */
  readonly upgrades: readonly UpgradeRecord[]
}

/** How far an upgrade has come. */
export type Progress =
  | { readonly stage: 'booting'; readonly generation: number; readonly pid: number | null }
  /** One worker of several: it can serve, and waits for the others. */
  | {
      readonly stage: 'worker'
      readonly generation: number
      readonly worker: number
      readonly pid: number
      /** From its start, in milliseconds. */
      readonly ms: number
    }
  /** It listens, but fails its check, and is asked again; of several workers this one does. */
  | {
      readonly stage: 'unchecked'
      readonly generation: number
      readonly worker?: number | undefined
      /** What was asked: `GET /health`. */
      readonly request: string
      /** What it came to: `answered 503`. */
      readonly outcome: string
    }
  /** It serves beside the one before it; told again and again. */
  | ({ readonly stage: 'probation'; readonly generation: number; readonly pid: number } & ProbationStatus)
  | ({ readonly stage: 'ready' } & UpgradeResult)
  /** The number of workers is changed, one by one; so many serve now. */
  | { readonly stage: 'scaling'; readonly workers: number }
  /** The old generation; told again and again while its connections get fewer. */
  | {
      readonly stage: 'draining'
      readonly generation: number
      readonly pid: number
      readonly connections: ConnectionCounts | null
      /** As in `GenerationStatus`, once it has drained for a second. */
      readonly heldUpBy?: readonly HoldUp[]
    }
  | {
      readonly stage: 'retired'
      readonly generation: number
      readonly pid: number
      /** Of the drain and of closing, in milliseconds. */
      readonly ms: number
      readonly code: number | null
      readonly signal: string | null
      /** What became of its connections; null if it didn't say. */
      readonly report: DrainReport | null
    }
  /** The order to stop has been taken, by this process of this PID namespace; every generation has been told. */
  | { readonly stage: 'stopping'; readonly pid: number; readonly namespace?: string | undefined }

export const commands = ['status', 'metrics', 'reload', 'confirm', 'rollback', 'scale', 'stop'] as const

export type Command = (typeof commands)[number]

/** A request is one line of JSON, and the only one of its connection. */
export type Request =
  | { readonly command: Exclude<Command, 'scale'> }
  /** To so many; with a sign to so many more, or less: `'6'`, `'+1'`, `'-1'`. */
  | { readonly command: 'scale'; readonly workers: string }

/** Whether it is a number of workers as above. */
export function isWorkerCount(text: unknown): text is string {
  return typeof text === 'string' && /^[+-]?\d{1,9}$/.test(text)
}

/** The error that a command ended with. */
export interface Refusal {
  /** One of the table, unless the master is of a later version. */
  readonly code: string
  readonly message: string
  readonly lastWords?: string
}

/** One line of JSON each: any number of `progress`, and then one of the others, which is the last. */
export type Answer =
  | { readonly progress: Progress }
  /** A `Status`, metrics as text, a number of workers, or null. */
  | { readonly result: unknown }
  | { readonly error: Refusal }

/** Of a request without its end of line, in bytes. */
export const longestRequest = 4_096

/** The same of an answer. */
export const longestAnswer = 2 ** 20
