import type { ConnectionCounts } from '../connections/state.js'
import { isHoldUps } from '../drain/hold-up.js'
import { isDrainReport } from '../drain/report.js'
import { type OfferMessage, readOfferMessage } from '../handover/offer.js'
import { isTicketKeys } from '../handover/session-tickets.js'
import { isAddress } from '../listeners/address.js'
import { isCheckFailure } from './check-failure.js'
import { unwrap } from './envelope.js'
import { isLogLine } from './log-line.js'
import type { MasterMessage, WorkerMessage } from './messages.js'

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
  listener: ({ listener, endTimeout, closeDelay }) =>
    isAddress(listener) && [endTimeout ?? 0, closeDelay ?? 0].every(isNumber),
  unlisten: ({ key }) => isString(key),
  asks: ({ request }) => isString(request),
  unchecked: ({ failure }) => isCheckFailure(failure),
  ready: ({ unclaimed, published, endTimeout, closeDelay, probation }) =>
    Array.isArray(unclaimed) &&
    Array.isArray(published ?? []) &&
    [endTimeout, closeDelay ?? 0].every(isNumber) &&
    (probation === undefined || hasNumbers(probation, 'time', 'share')),
  drained: ({ report }) => isDrainReport(report),
  dying: () => true,
  upgrade: ({ id }) => isNumber(id),
  counted: ({ id, connections, heldUpBy }) =>
    isNumber(id) && isCounts(connections) && (heldUpBy === undefined || isHoldUps(heldUpBy)),
  revealed: ({ id, ticketKeys }) => isNumber(id) && isTicketKeys(ticketKeys),
  measured: ({ id, usage }) => isNumber(id) && hasNumbers(usage, 'active', 'idle', 'cpu', 'uptime', 'rss'),
  leaving: () => true,
  draining: () => true,
  logged: ({ id }) => isNumber(id),
  tallied: ({ id, tally }) =>
    isNumber(id) &&
    hasNumbers(tally, 'responses', 'errors') &&
    hasNumbers({ connections: 0, erring: 0, ...(tally as object) }, 'connections', 'erring'),
  erred: () => true,
  judge: ({ id, verdict, reason }) =>
    isNumber(id) && (verdict === 'confirm' || verdict === 'rollback') && isString(reason),
  inquire: ({ id, about }) => isNumber(id) && (about === 'status' || about === 'metrics'),
  shared: ({ id, shared }) => isNumber(id) && hasNumbers(shared, 'wanted', 'gone')
}

const masterChecks: Checks<MasterMessage> = {
  serve: ({ dropped }) => Array.isArray(dropped ?? []),
  alone: () => true,
  probe: () => true,
  beside: ({ share }) => share === null || isNumber(share),
  tally: ({ id }) => isNumber(id),
  informed: ({ id, answer }) => isNumber(id) && answer != null,
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
