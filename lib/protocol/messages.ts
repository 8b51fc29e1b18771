import type { ConnectionCounts } from '../connections/state.js'
import { type DrainReport, isDrainReport } from '../drain/report.js'
import { type OfferMessage, readOfferMessage } from '../handover/offer.js'
import { isTicketKeys, type TicketKeys } from '../handover/session-tickets.js'
import { isAddress, type ListenerAddress } from '../listeners/address.js'
import { type CheckFailure, isCheckFailure } from './check-failure.js'
import { isLogLine, type LogLine } from './log-line.js'

/** From a worker to its master. */
export type WorkerMessage =
  | OfferMessage
  /**
   * A listener of this worker; its socket comes with the message. From now on its end may take so long, in milliseconds;
   * an older version says so only when it is ready.
   */
  | { readonly type: 'listener'; readonly listener: ListenerAddress; readonly endTimeout?: number }
  /** The worker closed it, and does not want it kept open. */
  | { readonly type: 'unlisten'; readonly key: string }
  /** It listens, and asks itself this: if it says no more, that is why it isn't ready. */
  | { readonly type: 'asks'; readonly request: string }
  /** It listens, but its check has not passed. */
  | { readonly type: 'unchecked'; readonly failure: CheckFailure }
  /** It can serve. */
  | {
      readonly type: 'ready'
      /** These inherited listeners nobody asked for. */
      readonly unclaimed: readonly string[]
      /** It has sent these, of which the system may have dropped some on the way; an older version doesn't say so. */
      readonly published?: readonly string[]
      /** So long its end may take, in milliseconds. */
      readonly endTimeout: number
      /** Of an older version, which doesn't know what to do when two generations serve, there is none. */
      readonly probation?: ProbationTerms
      /** It takes lines for its log; an older version doesn't. */
      readonly logs?: boolean
    }
  /** What has become of its connections; it exits now. */
  | { readonly type: 'drained'; readonly report: DrainReport }
  /** An uncaught error: it drains and will exit, let another one take its place. */
  | { readonly type: 'dying' }
  /** SIGHUP came to the worker, or the application called `upgrade()`. */
  | { readonly type: 'upgrade'; readonly id: number }
  | { readonly type: 'counted'; readonly id: number; readonly connections: ConnectionCounts }
  | { readonly type: 'revealed'; readonly id: number; readonly ticketKeys: readonly TicketKeys[] }
  | { readonly type: 'measured'; readonly id: number; readonly usage: Usage }
  /** A signal asks this worker alone to end: let another one take its place, and then say 'retire'. */
  | { readonly type: 'leaving' }
  /** Its drain has begun: the application has been told, and has stopped what only one may do. */
  | { readonly type: 'draining' }
  | { readonly type: 'tallied'; readonly id: number; readonly tally: Tally }
  /** The line of the master is in its log. */
  | { readonly type: 'logged'; readonly id: number }
  /** A response of 500 or above, while two generations serve. */
  | { readonly type: 'erred' }
  /** The application says what is to become of a generation on probation. */
  | {
      readonly type: 'judge'
      readonly id: number
      readonly verdict: 'confirm' | 'rollback'
      readonly reason: string
    }
  /** So many of its connections have gone elsewhere, since it was asked to share. */
  | { readonly type: 'shared'; readonly id: number; readonly shared: Shared }

/** From a master to its worker. */
export type MasterMessage =
  | OfferMessage
  /** From now on this generation is the one that serves: accept. */
  | {
      readonly type: 'serve'
      /**
       * The inherited listeners that nobody of its generation wants: of the others that it doesn't want itself, the files of
       * Unix sockets stay. An older version doesn't say so: then all that it doesn't want.
       */
      readonly dropped?: readonly string[]
    }
  /**
   * On probation: it serves the connections that the generation before it gives, and accepts only where none can be given. 'serve'
   * follows, or 'retire'.
   */
  | { readonly type: 'probe' }
  /** Another generation is on probation beside this one, and gets such a share of its connections, from 0 to 1; null: no more. */
  | { readonly type: 'beside'; readonly share: number | null }
  /** How many requests has it answered, since two generations serve? */
  | { readonly type: 'tally'; readonly id: number }
  /** The one before it has begun to drain: what only one may do, this one does from now on. */
  | { readonly type: 'alone' }
  | ({ readonly type: 'team' } & TeamNews)
  /** What has it used since its start? */
  | { readonly type: 'measure'; readonly id: number }
  /** It is busier than the others: such a share of its connections shall go elsewhere. */
  | ({ readonly type: 'share'; readonly id: number } & ShareRequest)
  /** An upgrade under way has begun, or is over. */
  | { readonly type: 'upgrading'; readonly value: boolean }
  /** How many connections are there? */
  | { readonly type: 'count'; readonly id: number }
  /** What are the keys of the session tickets? */
  | { readonly type: 'reveal'; readonly id: number }
  /** Those of the generation before it, to be applied before 'serve'. */
  | { readonly type: 'ticketKeys'; readonly ticketKeys: readonly TicketKeys[] }
  /** A next generation serves: drain, close, exit. */
  | {
      readonly type: 'retire'
      /** The one that takes its connections is warmed up: all at once. */
      readonly isUrgent?: boolean
    }
  /** Nobody follows: drain, close, exit. */
  | { readonly type: 'close'; readonly signal: NodeJS.Signals | null }
  /** To be logged by the application's logger, as a process that has served has none that is of today. */
  | ({ readonly type: 'log'; readonly id: number } & LogLine)
  | { readonly type: 'upgraded'; readonly id: number; readonly result: UpgradeResult }
  /** What the application wanted with a generation on probation has been done. */
  | { readonly type: 'judged'; readonly id: number }
  | {
      readonly type: 'refused'
      readonly id: number
      readonly code: string
      readonly message: string
      readonly lastWords?: string
    }

/** What a worker's process has used since its start: of two answers the difference tells. */
export interface Usage {
  /** Time in which its event loop was busy, in milliseconds: `performance.eventLoopUtilization()`. */
  readonly active: number
  /** Time in which it had nothing to do, in milliseconds. */
  readonly idle: number
  /** CPU time of all its threads, in milliseconds. */
  readonly cpu: number
  /** Since its start, in milliseconds. */
  readonly uptime: number
  /** Resident set size, in bytes. */
  readonly rss: number
}

/** How long a generation wants to be on probation, and on which terms. */
export interface ProbationTerms {
  /** In milliseconds; 0 for not at all. */
  readonly time: number
  /** Of the connections of the one before it, from 0 to 1. */
  readonly share: number
  /** So many of its responses may be 5xx, whatever the other one does: from 0 to 1. */
  readonly errorRate: number | false
}

/** What a process has answered since two generations serve. Those of HTTP/1.1, as Node.js tells of no others. */
export interface Tally {
  readonly responses: number
  /** Of them, those with a status of 500 or above. */
  readonly errors: number
}

/** What a worker has to know of the others of its generation. */
export interface TeamNews {
  /** How many there are, with itself. */
  readonly workers: number
  /** The process that goes on as the master if the master is lost. */
  readonly heir: number
  /** All of them. */
  readonly pids: readonly number[]
}

export interface ShareRequest {
  /** From 0 to 1: of the connections that are answered meanwhile. */
  readonly share: number
  /** `move`: they are given to the other workers, open. `close`: their next response says `Connection: close`. */
  readonly how: 'move' | 'close'
}

/** What has become of a `ShareRequest`. */
export interface Shared {
  /** How many were to go. */
  readonly wanted: number
  /** How many have gone. */
  readonly gone: number
}

/** What `upgrade()` resolves with. */
export interface UpgradeResult {
  /** The number of the generation that serves now. */
  readonly generation: number
  /** Its process. */
  readonly pid: number
  /** From the start of its process until it was ready, in milliseconds. */
  readonly ms: number
}

interface Envelope<Message> {
  readonly gracefulUpgrade: Message
}

/** The application may use the same channel for messages of its own: ours are in an envelope. */
export function wrap<Message extends WorkerMessage | MasterMessage>(message: Message): Envelope<Message> {
  return { gracefulUpgrade: message }
}

/** @returns undefined if the message isn't one of ours */
function unwrap(message: unknown): Record<string, unknown> | undefined {
  const inner = (message as Partial<Envelope<unknown>> | null)?.gracefulUpgrade
  return typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : undefined
}

/** For the log, which the rest of a message is none of the business of. */
export function typeOf(message: unknown): unknown {
  return unwrap(message)?.type
}

/** @returns undefined if the message isn't for the master; 'unknown' if a later version may know it */
export function readWorkerMessage(message: unknown): WorkerMessage | 'unknown' | undefined {
  return read(message, workerChecks)
}

/** @returns undefined if the message isn't for the worker; 'unknown' if a later version may know it */
export function readMasterMessage(message: unknown): MasterMessage | 'unknown' | undefined {
  return read(message, masterChecks)
}

/** Each message of one side by its name, and whether one that came in is whole. */
type Checks<Message extends { readonly type: string }> = Readonly<
  Record<Exclude<Message, OfferMessage>['type'], (inner: Record<string, unknown>) => boolean>
>

const workerChecks: Checks<WorkerMessage> = {
  listener: ({ listener, endTimeout }) =>
    isAddress(listener) && (endTimeout === undefined || isNumber(endTimeout)),
  unlisten: ({ key }) => isString(key),
  asks: ({ request }) => isString(request),
  unchecked: ({ failure }) => isCheckFailure(failure),
  ready: ({ unclaimed, published, endTimeout, probation }) =>
    Array.isArray(unclaimed) &&
    Array.isArray(published ?? []) &&
    isNumber(endTimeout) &&
    (probation === undefined || hasNumbers(probation, 'time', 'share')),
  drained: ({ report }) => isDrainReport(report),
  dying: () => true,
  upgrade: ({ id }) => isNumber(id),
  counted: ({ id, connections }) => isNumber(id) && isCounts(connections),
  revealed: ({ id, ticketKeys }) => isNumber(id) && isTicketKeys(ticketKeys),
  measured: ({ id, usage }) => isNumber(id) && hasNumbers(usage, 'active', 'idle', 'cpu', 'uptime', 'rss'),
  leaving: () => true,
  draining: () => true,
  logged: ({ id }) => isNumber(id),
  tallied: ({ id, tally }) => isNumber(id) && hasNumbers(tally, 'responses', 'errors'),
  erred: () => true,
  judge: ({ id, verdict, reason }) =>
    isNumber(id) && (verdict === 'confirm' || verdict === 'rollback') && isString(reason),
  shared: ({ id, shared }) => isNumber(id) && hasNumbers(shared, 'wanted', 'gone')
}

const masterChecks: Checks<MasterMessage> = {
  serve: ({ dropped }) => Array.isArray(dropped ?? []),
  alone: () => true,
  probe: () => true,
  beside: ({ share }) => share === null || isNumber(share),
  tally: ({ id }) => isNumber(id),
  judged: ({ id }) => isNumber(id),
  team: ({ workers, heir, pids }) => isNumber(workers) && isNumber(heir) && Array.isArray(pids),
  measure: ({ id }) => isNumber(id),
  share: ({ id, share, how }) => isNumber(id) && isNumber(share) && (how === 'move' || how === 'close'),
  upgrading: ({ value }) => typeof value === 'boolean',
  count: ({ id }) => isNumber(id),
  reveal: ({ id }) => isNumber(id),
  ticketKeys: ({ ticketKeys }) => isTicketKeys(ticketKeys),
  retire: () => true,
  close: ({ signal }) => signal === null || isString(signal),
  log: ({ id, ...line }) => isNumber(id) && isLogLine(line),
  upgraded: ({ id, result }) => isNumber(id) && result != null,
  refused: ({ id, code, message }) => isNumber(id) && isString(code) && isString(message)
}

function read<Message extends { readonly type: string }>(
  message: unknown,
  checks: Checks<Message>
): Message | OfferMessage | 'unknown' | undefined {
  const inner = unwrap(message)
  if (inner === undefined) return undefined
  const offer = readOfferMessage(inner)
  if (offer !== undefined) return offer
  const { type } = inner
  if (typeof type !== 'string' || !Object.hasOwn(checks, type)) return 'unknown'
  return checks[type as keyof Checks<Message>](inner) ? (inner as unknown as Message) : 'unknown'
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number'
}

function hasNumbers(value: unknown, ...names: readonly string[]): boolean {
  return names.every(name => isNumber((value as Partial<Record<string, unknown>> | null | undefined)?.[name]))
}

function isString(value: unknown): boolean {
  return typeof value === 'string'
}

function isCounts(value: unknown): value is ConnectionCounts {
  const counts = value as Partial<Record<string, unknown>> | null | undefined
  return ['fresh', 'idle', 'active', 'detached'].every(state => Number.isInteger(counts?.[state]))
}
