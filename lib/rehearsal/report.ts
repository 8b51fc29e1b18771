import type { Change } from './change.js'
import type { FailureKind } from './failure.js'
import type { Finding } from './findings.js'
import type { Latencies, Timeline } from './latencies.js'
import type { Mode } from './plan.js'
import type { Stay } from './stay.js'

/** What a rehearsal has come to: `--json` prints it as it is. Times are in milliseconds, memory in bytes. */
export interface Report {
  readonly version: 1
  readonly passed: boolean
  readonly command: string
  readonly plugin: string
  readonly node: string
  readonly cores: number
  readonly load: LoadReport
  /** The rehearsal first, if the application can be upgraded; then what it is compared with. */
  readonly runs: readonly RunReport[]
}

export interface LoadReport {
  readonly clients: number
  readonly pause: readonly [number, number]
  readonly time: number
  readonly every: number
  readonly fresh: number
  readonly requests: readonly string[]
  readonly latency: number
}

export interface RunReport {
  readonly mode: Mode
  /** Where the application listened, and what it spoke: `HTTP/1.1 on 127.0.0.1:3000`. */
  readonly target: string
  /** All that were asked, and those of them that had no whole and good answer. */
  readonly requests: number
  readonly failures: number
  /** WebSockets and streams of events that could not be opened, or ended without a word. */
  readonly losses: number
  readonly kinds: Readonly<Partial<Record<FailureKind, number>>>
  /** The same, each way in which something went wrong. */
  readonly groups: readonly GroupReport[]
  readonly clients: number
  /** Connections beyond the first of each client that keeps its own, and how many clients had any. */
  readonly reconnects: number
  readonly reconnected: number
  readonly changes: readonly ChangeReport[]
  /** While a change was under way, and for a second behind it; and in the rest of the time. */
  readonly around?: Latencies
  readonly calm?: Latencies
  readonly timeline: Timeline
  readonly stays: readonly Stay[]
  /** How late the clients' own event loop was. */
  readonly clientDelay: { readonly p99: number; readonly longest: number }
  readonly findings: readonly Finding[]
  /** How the application has ended in the middle of it: `exit code 1`, `SIGKILL`; with its last words. */
  readonly death?: { readonly how: string; readonly lastWords: string }
  /** The rehearsal was ended before its time. */
  readonly interrupted?: true
}

export interface GroupReport {
  readonly kind: FailureKind
  /** `GET /`, `WebSocket /chat` */
  readonly what: string
  readonly status?: number
  readonly expected?: readonly number[]
  readonly message: string
  readonly count: number
  /** Of these, how many came while no change was under way. */
  readonly calm: number
  /** Around which changes the others came. */
  readonly upgrades: readonly number[]
  /** The longest time that one of them had waited. */
  readonly longest: number
}

export type ChangeReport = Change & {
  readonly answers: number
  readonly failures: number
  readonly reconnects: number
  readonly latencies?: Latencies
  /** Resident set sizes of the old version and the new one, of all their workers. */
  readonly memory?: { readonly old?: number; readonly next?: number }
}
