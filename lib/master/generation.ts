import { constants } from 'node:os'
import type { ConnectionCounts } from '../connections/state.js'
import { firstOf, type HoldUp } from '../drain/hold-up.js'
import type { DrainReport } from '../drain/report.js'
import type { Relay } from '../handover/offer.js'
import type { TicketKeys } from '../handover/session-tickets.js'
import type { OpenListener } from '../listeners/address.js'
import type { LogLine } from '../protocol/log-line.js'
import type { ProbationTerms, Tally } from '../protocol/probation.js'
import type { Shared, ShareRequest, TeamNews } from '../protocol/team.js'

/** How a process ended. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** How a generation ended that made way for the next one; the report is null where it couldn't give one. */
export interface Retirement extends Ending {
  readonly report: DrainReport | null
}

/** One of those that a generation runs in: its worker, one of several, or the master's own. */
export interface GenerationProcess {
  /** From 0 on; one that takes another's place has the same. */
  readonly worker: number
  readonly pid: number
  /** 'closing': it serves on for `closeDelay`, and drains then. */
  readonly state: 'booting' | 'probation' | 'serving' | 'closing' | 'draining'
  /** How often this place was taken by a new process since the generation began. */
  readonly restarts: number
  /** Of all its instances; null where it doesn't say so in time. */
  connections(): Promise<ConnectionCounts | null>
  /** What its drain waits for; nothing where it doesn't say so in time. */
  heldUpBy(): Promise<readonly HoldUp[]>
  /** What it uses; null where it doesn't say so in time. */
  load(): Promise<Load | null>
}

/** What a process uses, since the look before this one. */
export interface Load {
  /** Share of the time in which its event loop was busy: from 0 to 1. */
  readonly elu: number
  /** CPU time of all its threads in cores: 1 is one core all the time. */
  readonly cpu: number
  /** Resident set size, in bytes. */
  readonly rss: number
}

/**
 * One run of the application's code, as a master knows it: in this very process (`generation-here.ts`), in a
 * child (`worker.ts`), or in several (`team.ts`).
 */
export interface Generation {
  readonly number: number
  /** Whether it runs in the master's own process. */
  readonly isHere: boolean
  /** Whether workers that a lost master has left behind serve beside it: one of them goes on if this process is lost, too. */
  hasOrphans?(): boolean
  /** The first one names it in logs; none if it could not be started. Also when they have ended. */
  processes(): readonly GenerationProcess[]
  /** Resolves with the keys of the inherited listeners that it didn't claim; rejects with what kept it from it. */
  readonly ready: Promise<readonly string[]>
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<Ending>
  /** Resolves if an uncaught error makes it end; it drains yet, but another one had better take its place. */
  readonly dying: Promise<void>
  /** Resolves when a signal has asked it, and only it, to end: others serve. */
  readonly leaving: Promise<void>
  /** Resolves when its application knows that it goes, and has stopped what only one may do; or when it has ended. */
  readonly draining: Promise<unknown>
  /** Its listening sockets, open in this process: also after its end, until `release()`. */
  listeners(): readonly OpenListener[]
  /** How many connections it has, of all its instances; null where it doesn't say so in time. */
  connections(): Promise<ConnectionCounts | null>
  /** What makes the session tickets of its TLS servers valid; null where it doesn't say so in time. */
  ticketKeys(): Promise<readonly TicketKeys[] | null>
  /** How long its end may take, with `closeDelay`, in milliseconds: 0 while nothing of it listens. */
  readonly endTimeout: number
  /** The terms that it wants, once it is ready; undefined of an older version, which knows no probation. */
  readonly probation: ProbationTerms | undefined
  /** From now on it serves beside the one that serves, on what that gives it. `serve()` or `retire()` follows. */
  probe(ticketKeys: readonly TicketKeys[]): void
  /** Starts what it needs to serve alone, while it is on probation. @throws what keeps one of its workers from its start */
  complete(): Promise<unknown>
  /** Another one is on probation beside it, and gets such a share of its connections, from 0 to 1; null: no more. */
  beside(share: number | null): void
  /** What it has answered since two generations serve; null where it doesn't say so in time. */
  tally(): Promise<Tally | null>
  /** From now on it is the one that serves; it takes the sessions of an older one for its own. */
  serve(ticketKeys: readonly TicketKeys[]): void
  /** The one before it drains: what only one may do, it does from now on. */
  alone(): void
  /** An upgrade of it has begun, or is over. */
  upgrading(value: boolean): void
  /**
   * Another generation serves: drain, close, end. Resolves when it has ended.
   * @param isUrgent the other one is warmed up: all of its connections go at once
   */
  retire(isUrgent?: boolean): Promise<Retirement>
  /**
   * Changes the number of its workers while it serves, one by one; those that are too many drain in their own time.
   * Undefined where there can only be one.
   * @returns how many serve then
   * @throws what keeps one from its start: those that have been there serve on
   */
  scale?(workers: number, onProgress: (workers: number) => void): Promise<number>
  /** Logs a line of the master by the logger of its application. Resolves with whether it has; undefined where it can't. */
  log?(line: LogLine): Promise<boolean> | undefined
  /** Takes a connection of another generation. */
  readonly adopt: Relay
  /**
   * Nobody follows: drain, close, end, at once where nothing of it listens yet; also where it drains for a next one already.
   * Resolves when it has ended.
   */
  close(signal: NodeJS.Signals | null): Promise<Ending>
  /** A second signal after `close()`: it drains at once. @returns whether its `closeDelay` was under way */
  hurry(): boolean
  /** Sends it a signal, if it has not ended. */
  signal(signal: NodeJS.Signals): void
  /** Ends it at once. */
  kill(): void
  /** Closes what this process holds open of it. */
  release(): void
}

/** A generation in one child process, which may be one worker of several. */
export interface Worker extends Generation {
  /** @param dropped those of the inherited listeners that none of its siblings wants either. @default what it doesn't want */
  serve(ticketKeys: readonly TicketKeys[], dropped?: readonly string[]): void
  /** What it has to know of the others. */
  tellTeam(team: TeamNews): void
  load(): Promise<Load | null>
  /** Has a share of its connections go to its siblings. Null where it doesn't say in time what has become of them. */
  share(request: ShareRequest): Promise<Shared | null>
}

/** What an application may say of a generation on probation. */
export type Judge = (verdict: 'confirm' | 'rollback', reason: string) => Promise<void>

/** Takes a connection from one generation to the one that serves. */
export type RelayFrom = (from: Generation, ...offered: Parameters<Relay>) => ReturnType<Relay>

/** What a generation waits for, as far as it drains: of several workers any of them may. */
export async function heldUpBy({ processes }: Pick<Generation, 'processes'>): Promise<readonly HoldUp[]> {
  const draining = processes().filter(({ state }) => state === 'draining')
  return firstOf((await Promise.all(draining.map(each => each.heldUpBy()))).flat())
}

/** The pid that logs and messages call it by; 0 if it could not be started. */
export function mainPid(generation: Pick<Generation, 'processes'>): number {
  return generation.processes()[0]?.pid ?? 0
}

/** As log lines call it. */
export function nameOf(generation: Generation) {
  return { generation: generation.number, generationPid: mainPid(generation) }
}

/** What a shell says of a process that ended so; 1 where this process itself ended it, and instead of 0. */
export function failureCode({ code, signal }: Ending): number {
  if (code !== null) return code || 1
  return signal === null || signal === 'SIGKILL' ? 1 : 128 + constants.signals[signal]
}
