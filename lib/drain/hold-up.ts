import { printableLine } from '../printable.js'

/** What a drain waits for: a request in hand, or what else is open. */
export interface HoldUp {
  readonly kind: 'request' | 'webSocket' | 'other'
  /** Not of a request whose head has not arrived whole. */
  readonly method?: string
  /** Without its query, and cut where it is long. Of a WebSocket it is that of its handshake, where that is known. */
  readonly url?: string
  /** Fastify's `request.id`, where that comes from a header of the request (its option `requestIdHeader`). */
  readonly id?: string
  /** For so long it holds up the drain, in milliseconds; it may have begun before that, which nobody has noted. */
  readonly ms: number
}

/** So many are named. */
const most = 5

const longestMethod = 20

const longestUrl = 100

const longestId = 64

const kinds: readonly HoldUp['kind'][] = ['request', 'webSocket', 'other']

/** A request by its words, which are its client's. */
export function nameRequest(
  { method, url }: { readonly method?: string | undefined; readonly url?: string | undefined },
  id: unknown
): Pick<HoldUp, 'method' | 'url' | 'id'> {
  return {
    ...(method !== undefined && { method: shortened(method, longestMethod) }),
    ...(url !== undefined && { url: nameUrl(url) }),
    ...(typeof id === 'string' && id !== '' && { id: shortened(id, longestId) })
  }
}

/** Without what may be secret: query, parameters of the path as `;jsessionid=`, and who asks, in the absolute form. */
export function nameUrl(url: string): string {
  const path = url.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '').replace(/[?#;].*$/s, '')
  return shortened(path, longestUrl)
}

function shortened(text: string, length: number): string {
  const printable = printableLine(text.slice(0, 2 * length))
  return printable.length > length ? `${printable.slice(0, length - 1)}…` : printable
}

/** The oldest requests, then the rest: as many as are named. */
export function firstOf(all: readonly HoldUp[]): readonly HoldUp[] {
  const rank = ({ kind }: HoldUp) => kinds.indexOf(kind)
  return [...all].sort((one, other) => rank(one) - rank(other) || other.ms - one.ms).slice(0, most)
}

/** `GET /report`, `WebSocket /chat` */
export function describeHoldUp({ kind, method, url }: HoldUp): string {
  if (kind === 'webSocket') return url === undefined ? 'a WebSocket' : `WebSocket ${url}`
  if (kind === 'other') return 'another connection'
  return method === undefined ? 'a request that has not arrived whole' : `${method} ${url ?? ''}`
}

export function namesOf(all: readonly HoldUp[]): string {
  return all.map(describeHoldUp).join(', ')
}

/** Of a list that another process sends. */
export function isHoldUps(value: unknown): value is readonly HoldUp[] {
  return Array.isArray(value) && value.every(isHoldUp)
}

function isHoldUp(value: unknown): boolean {
  const { kind, method, url, id, ms } = (value ?? {}) as Partial<Record<keyof HoldUp, unknown>>
  const words = [method, url, id].every(word => word === undefined || typeof word === 'string')
  return kinds.some(known => known === kind) && words && Number.isSafeInteger(ms) && (ms as number) >= 0
}
