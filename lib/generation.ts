import type { ConnectionCounts } from './connections.js'
import type { DrainReport } from './drain-report.js'
import type { OpenListener, Relay, TicketKeys } from './protocol.js'

/** How a process ended. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** How a generation ended that made way for the next one; the report is null where it couldn't give one. */
export interface Retirement extends Ending {
  readonly report: DrainReport | null
}

/**
 * One run of the application's code, as a master knows it: in this very process (`application.ts`), or in a
 * child (`worker.ts`).
 */
export interface Generation {
  readonly number: number
  readonly pid: number
  /** Resolves with the keys of the inherited listeners that it didn't claim; rejects with what kept it from it. */
  readonly ready: Promise<readonly string[]>
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<Ending>
  /** Resolves if an uncaught error makes it end; it drains yet, but another one had better take its place. */
  readonly dying: Promise<void>
  /** Its listening sockets, open in this process: also after its end, until `release()`. */
  listeners(): readonly OpenListener[]
  /** How many connections it has, of all its instances; null where it doesn't say so in time. */
  connections(): Promise<ConnectionCounts | null>
  /** What makes the session tickets of its TLS servers valid; null where it doesn't say so in time. */
  ticketKeys(): Promise<readonly TicketKeys[] | null>
  /** From now on it is the one that serves; it takes the sessions of an older one for its own. */
  serve(ticketKeys: readonly TicketKeys[]): void
  /** An upgrade of it has begun, or is over. */
  upgrading(value: boolean): void
  /** A next generation serves: drain, close, end. Resolves when it has ended. */
  retire(): Promise<Retirement>
  /** Takes a connection of an older generation. */
  readonly adopt: Relay
  /**
   * Nobody follows: drain, close, end, at once where nothing of it listens yet; also where it drains for a next one already.
   * Resolves when it has ended.
   */
  close(signal: NodeJS.Signals | null): Promise<Ending>
  /** Ends it at once. */
  kill(): void
  /** Closes what this process holds open of it. */
  release(): void
}
