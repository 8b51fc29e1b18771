import type { RawHandle } from '../internals/raw-handle.js'
import { isAddress, type ListenerAddress } from '../listeners/address.js'

/** A connection on its way to the generation that serves; its socket comes with it. */
export interface ConnectionOffer {
  /** Of the listener that accepted it. */
  readonly listener: ListenerAddress
  /** For how long it may stay idle, in milliseconds; null for a fresh one, which has no such time yet. */
  readonly idleTime: number | null
  /** For how long a fresh one may stay so, in milliseconds, where it has such a time; an older version doesn't say so. */
  readonly freshTime?: number
  /** It is in the middle of something, which its next owner goes on with. */
  readonly kept?: KeptPart
  /** It is for the generation on probation, and for no other worker of the one that gives it. */
  readonly isShare?: boolean
}

/** What a kept connection takes along: its new owner replays the request of the client, which has had the answer to it. */
export interface KeptPart {
  /** The one of the offer: see `unknownListener`. */
  readonly listener: ListenerAddress
  /** What comes first: the head of the client's request, and what was read after that and not worked on; in base64. */
  readonly bytes: string
  readonly told: Told
  /** What the application has saved, as JSON. */
  readonly state: string
  /** What the client's compressed messages refer to, in base64. */
  readonly dictionary?: string
}

/** What a client was told in answer to its request. */
export type Told =
  | { readonly kind: 'webSocket'; readonly protocol: string; readonly extensions: string }
  | {
      readonly kind: 'stream'
      readonly status: number
      /** How it ends: `chunked`, a content-length, or with the connection: `close`. */
      readonly framing: string
      readonly type: string
    }
  /** Of a protocol that is not known here. */
  | { readonly kind: 'socket' }

/**
 * The listener of an offer with a kept part, which has the true one. A version that doesn't know kept connections would take
 * it for an idle one, and break it: so it finds that it has no such listener, and refuses.
 */
export const unknownListener: ListenerAddress = { key: '', bound: '' }

/** Where a connection was accepted. */
export function listenerOf({ kept, listener }: ConnectionOffer): ListenerAddress {
  return kept?.listener ?? listener
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

export function readOfferMessage(inner: Record<string, unknown>): OfferMessage | undefined {
  const { type, id, offer, answer } = inner as {
    type: unknown
    id: unknown
    offer?: unknown
    answer?: unknown
  }
  if (typeof id !== 'number') return undefined
  const { listener, idleTime, freshTime, kept } = (offer ?? {}) as Partial<ConnectionOffer>
  const isOffer =
    type === 'offer' &&
    isAddress(listener) &&
    (idleTime === null || typeof idleTime === 'number') &&
    ['undefined', 'number'].includes(typeof freshTime) &&
    (kept === undefined || isKeptPart(kept))
  const isAnswer = type === 'answer' && answers.includes(answer as OfferAnswer)
  return isOffer || isAnswer || type === 'offered' ? (inner as OfferMessage) : undefined
}

const answers: readonly OfferAnswer[] = ['adopted', 'refused', 'unavailable', 'lost']

function isKeptPart(value: unknown): value is KeptPart {
  const { listener, bytes, told, state, dictionary = '' } = (value ?? {}) as Partial<KeptPart>
  return isAddress(listener) && isTold(told) && [bytes, state, dictionary].every(isString)
}

function isTold(value: unknown): value is Told {
  const { kind, ...rest } = (value ?? {}) as Record<string, unknown>
  switch (kind) {
    case 'webSocket':
      return isString(rest.protocol) && isString(rest.extensions)
    case 'stream':
      return typeof rest.status === 'number' && isString(rest.framing) && isString(rest.type)
    default:
      return kind === 'socket'
  }
}

function isString(value: unknown): boolean {
  return typeof value === 'string'
}
