import type { ConnectionCounts } from './connections.js'
import { type DrainReport, isDrainReport } from './drain-report.js'
import type { RawHandle } from './node-internals.js'

/** What a master and its worker say to each other: over IPC, and by one variable of the environment. */

/** A listening socket together with the address that the application asked for. */
export interface ListenerAddress {
  /** `tcp:HOST:PORT`, `tcp:HOST:0#N` for the Nth one on a free port, `unix:PATH`, `fd:N`: as it was asked for. */
  readonly key: string
  /** Where it is bound: `127.0.0.1:3000`, `[::1]:3000`, or the path. */
  readonly bound: string
  /** Of a service manager, which goes on listening: the file of its Unix socket is not ours to remove. */
  readonly isForeign?: true
}

/** One inherited listener: a listening socket that is open in this process as a file descriptor. */
export interface OpenListener extends ListenerAddress {
  readonly fd: number
}

/** A connection on its way to the generation that serves; its socket comes with it. */
export interface ConnectionOffer {
  /** Of the listener that accepted it. */
  readonly listener: ListenerAddress
  /** For how long it may stay idle, in milliseconds; null for a fresh one, which has no such time yet. */
  readonly idleTime: number | null
}

/**
 * What became of an offered connection. *adopted*: the new generation reads it; *refused*: it will not;
 * *unavailable*: there is none to take it now; *lost*: nobody knows, as the master has gone.
 */
export type OfferAnswer = 'adopted' | 'refused' | 'unavailable' | 'lost'

/** Hands a connection on; never rejects. The handle stays the caller's. */
export type Relay = (offer: ConnectionOffer, handle: RawHandle) => Promise<OfferAnswer>

/** Both ways: from the old generation to the master, and from there to the new one. */
export type OfferMessage =
  /** The socket comes with it, if the receiver has a descriptor left for it. */
  | { readonly type: 'offer'; readonly id: number; readonly offer: ConnectionOffer }
  /** Follows at once: who has not got the offer by now won't get it any more. */
  | { readonly type: 'offered'; readonly id: number }
  | { readonly type: 'answer'; readonly id: number; readonly answer: OfferAnswer }

/** What makes the session tickets of a TLS listener valid: a secret, for the channel between the processes alone. */
export interface TicketKeys {
  readonly listener: ListenerAddress
  /** `tls.Server#getTicketKeys()`, in base64; null where they are the application's own. */
  readonly keys: string | null
  /** By which the server knows a session for its own. */
  readonly sessionIdContext: string
  /** A digest of what it takes to accept a client's certificate; null if none is asked for. */
  readonly clients: string | null
}

/** What a worker is born with, in the variable below. */
export interface Inheritance {
  readonly generation: number
  readonly listeners: readonly OpenListener[]
  /** The master's process. */
  readonly master: number
  /** The descriptor of the standard error that the master's own words go to; of use when the master is lost. */
  readonly standardError: number
  /** Whether another worker serves while this one starts: if the master is lost then, that one goes on alone. */
  readonly succeeds: 'worker' | 'master' | 'none'
}

export const inheritanceVariable = 'FASTIFY_GRACEFUL_UPGRADE'

/** What never gets from one generation's environment into the next one's by itself. */
export const privateVariables = [inheritanceVariable, 'NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE']

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
  /** It can serve. */
  | {
      readonly type: 'ready'
      /** These inherited listeners nobody asked for. */
      readonly unclaimed: readonly string[]
      /** It has sent these, of which the system may have dropped some on the way; an older version doesn't say so. */
      readonly published?: readonly string[]
      /** So long its end may take, in milliseconds. */
      readonly endTimeout: number
    }
  /** What has become of its connections; it exits now. */
  | { readonly type: 'drained'; readonly report: DrainReport }
  /** An uncaught error: it drains and will exit, let another one take its place. */
  | { readonly type: 'dying' }
  /** SIGHUP came to the worker, or the application called `upgrade()`. */
  | { readonly type: 'upgrade'; readonly id: number }
  | { readonly type: 'counted'; readonly id: number; readonly connections: ConnectionCounts }
  | { readonly type: 'revealed'; readonly id: number; readonly ticketKeys: readonly TicketKeys[] }

/** From a master to its worker. */
export type MasterMessage =
  | OfferMessage
  /** From now on this generation is the one that serves: accept. */
  | { readonly type: 'serve' }
  /** An upgrade under way has begun, or is over. */
  | { readonly type: 'upgrading'; readonly value: boolean }
  /** How many connections are there? */
  | { readonly type: 'count'; readonly id: number }
  /** What are the keys of the session tickets? */
  | { readonly type: 'reveal'; readonly id: number }
  /** Those of the generation before it, to be applied before 'serve'. */
  | { readonly type: 'ticketKeys'; readonly ticketKeys: readonly TicketKeys[] }
  /** A next generation serves: drain, close, exit. */
  | { readonly type: 'retire' }
  /** Nobody follows: drain, close, exit. */
  | { readonly type: 'close'; readonly signal: NodeJS.Signals | null }
  | { readonly type: 'upgraded'; readonly id: number; readonly result: UpgradeResult }
  | {
      readonly type: 'refused'
      readonly id: number
      readonly code: string
      readonly message: string
      readonly lastWords?: string
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
  const inner = unwrap(message)
  if (inner === undefined) return undefined
  switch (inner.type) {
    case 'listener':
      return isAddress(inner.listener) && ['undefined', 'number'].includes(typeof inner.endTimeout)
        ? (inner as WorkerMessage)
        : 'unknown'
    case 'unlisten':
      return typeof inner.key === 'string' ? (inner as WorkerMessage) : 'unknown'
    case 'ready':
      return Array.isArray(inner.unclaimed) &&
        Array.isArray(inner.published ?? []) &&
        typeof inner.endTimeout === 'number'
        ? (inner as WorkerMessage)
        : 'unknown'
    case 'drained':
      return isDrainReport(inner.report) ? (inner as WorkerMessage) : 'unknown'
    case 'dying':
      return inner as WorkerMessage
    case 'upgrade':
      return typeof inner.id === 'number' ? (inner as WorkerMessage) : 'unknown'
    case 'counted':
      return typeof inner.id === 'number' && isCounts(inner.connections)
        ? (inner as WorkerMessage)
        : 'unknown'
    case 'revealed':
      return typeof inner.id === 'number' && isTicketKeys(inner.ticketKeys)
        ? (inner as WorkerMessage)
        : 'unknown'
    default:
      return readOfferMessage(inner) ?? 'unknown'
  }
}

/** @returns undefined if the message isn't for the worker; 'unknown' if a later version may know it */
export function readMasterMessage(message: unknown): MasterMessage | 'unknown' | undefined {
  const inner = unwrap(message)
  if (inner === undefined) return undefined
  switch (inner.type) {
    case 'serve':
    case 'retire':
      return inner as MasterMessage
    case 'close':
      return inner.signal === null || typeof inner.signal === 'string' ? (inner as MasterMessage) : 'unknown'
    case 'count':
    case 'reveal':
      return typeof inner.id === 'number' ? (inner as MasterMessage) : 'unknown'
    case 'ticketKeys':
      return isTicketKeys(inner.ticketKeys) ? (inner as MasterMessage) : 'unknown'
    case 'upgrading':
      return typeof inner.value === 'boolean' ? (inner as MasterMessage) : 'unknown'
    case 'upgraded':
      return typeof inner.id === 'number' && inner.result != null ? (inner as MasterMessage) : 'unknown'
    case 'refused': {
      const { id, code, message } = inner
      const isWhole = typeof id === 'number' && typeof code === 'string' && typeof message === 'string'
      return isWhole ? (inner as MasterMessage) : 'unknown'
    }
    default:
      return readOfferMessage(inner) ?? 'unknown'
  }
}

function readOfferMessage(inner: Record<string, unknown>): OfferMessage | undefined {
  const { type, id, offer, answer } = inner as {
    type: unknown
    id: unknown
    offer?: unknown
    answer?: unknown
  }
  if (typeof id !== 'number') return undefined
  const { listener, idleTime } = (offer ?? {}) as Partial<ConnectionOffer>
  const isOffer =
    type === 'offer' && isAddress(listener) && (idleTime === null || typeof idleTime === 'number')
  const isAnswer = type === 'answer' && answers.includes(answer as OfferAnswer)
  return isOffer || isAnswer || type === 'offered' ? (inner as OfferMessage) : undefined
}

const answers: readonly OfferAnswer[] = ['adopted', 'refused', 'unavailable', 'lost']

function isCounts(value: unknown): value is ConnectionCounts {
  const counts = value as Partial<Record<string, unknown>> | null | undefined
  return ['fresh', 'idle', 'active', 'detached'].every(state => Number.isInteger(counts?.[state]))
}

function isTicketKeys(value: unknown): value is TicketKeys[] {
  return Array.isArray(value) && value.every(isTicketKey)
}

function isTicketKey(value: unknown): value is TicketKeys {
  const { listener, keys, sessionIdContext, clients } = (value ?? {}) as Partial<TicketKeys>
  return (
    isAddress(listener) &&
    (keys === null || (typeof keys === 'string' && Buffer.from(keys, 'base64').length === ticketKeyBytes)) &&
    typeof sessionIdContext === 'string' &&
    Buffer.byteLength(sessionIdContext) <= maxSessionIdContext &&
    (clients === null || typeof clients === 'string')
  )
}

/** What `setTicketKeys()` takes. */
const ticketKeyBytes = 48
/** OpenSSL's SSL_MAX_SID_CTX_LENGTH, in bytes. */
const maxSessionIdContext = 32

function isAddress(value: unknown): value is ListenerAddress {
  const address = value as Partial<ListenerAddress> | null | undefined
  return typeof address?.key === 'string' && typeof address.bound === 'string'
}

/**
 * Reads what a master has left for its worker. A child of the worker may have got the variable by accident: its
 * parent is not the master, which lives. Where the master is dead, the parent is whoever takes orphans.
 * @returns undefined where there is no variable, or it is not for this process
 */
export function readInheritance(
  variable: string | undefined,
  parent: number,
  isAlive: (pid: number) => boolean
): Inheritance | undefined {
  if (variable === undefined) return undefined
  try {
    const inheritance: unknown = JSON.parse(variable)
    if (!isInheritance(inheritance)) return undefined
    return inheritance.master === parent || !isAlive(inheritance.master) ? inheritance : undefined
  } catch {
    return undefined
  }
}

function isInheritance(value: unknown): value is Inheritance {
  const { generation, listeners, master, standardError } = (value ?? {}) as Partial<Inheritance>
  return (
    Number.isInteger(generation) &&
    Number.isInteger(master) &&
    Number.isInteger(standardError) &&
    Array.isArray(listeners) &&
    listeners.every(
      listener => isAddress(listener) && Number.isInteger((listener as Partial<OpenListener>).fd)
    )
  )
}
