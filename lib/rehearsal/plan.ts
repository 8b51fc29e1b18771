import { GracefulUpgradeError } from '../errors.js'
import { isStatus, type PlannedRequest, parseRequests } from './requests.js'

/** What the new version takes the place of the old one by; all but the first are there to be compared with. */
export type Mode = 'upgrade' | 'restart' | 'close'

/** What a rehearsal is to do; times are in milliseconds. */
export interface Plan {
  readonly clients: number
  /** Of each client before a request: between these two, drawn evenly. */
  readonly pause: readonly [number, number]
  /** How long there is load. */
  readonly time: number
  /** From the start of one upgrade to the next. */
  readonly every: number
  readonly requests: readonly PlannedRequest[]
  /** Clients beside these that open a connection for each request. */
  readonly fresh: number
  /** Paths, each of which some clients open and keep open. */
  readonly webSockets: readonly string[]
  readonly events: readonly string[]
  /** What a request is on its way: a close that the client has not heard of meanwhile loses it. */
  readonly latency: number
  /** How long an answer is waited for. */
  readonly timeout: number
  readonly compare: readonly Mode[]
  /** More than these are not forgiven. */
  readonly maxFailures: number
  /** Of the answers around upgrades. */
  readonly maxP999: number | undefined
  readonly json: boolean
  /** A file to write the report with pictures to. */
  readonly html: string | undefined
}

/** A name and what was given for it, in the order of the command line. */
export type GivenOptions = readonly (readonly [name: string, value: string])[]

/** @throws GRACEFUL_UPGRADE_USAGE */
export function planOf(given: GivenOptions): Plan {
  const all = (name: string) => given.flatMap(([other, value]) => (other === name ? [value] : []))
  const last = (name: string) => all(name).at(-1)
  const expect = optional(last('--expect'), text => parseStatus('--expect', text))
  const requests = parseRequests(all('--request').length > 0 ? all('--request') : ['GET /'])
  const plan = {
    clients: parseCount('--clients', last('--clients') ?? '50', 0),
    pause: parsePause(last('--pause') ?? '0-100ms'),
    time: parseTime('--for', last('--for') ?? '20s'),
    every: parseTime('--every', last('--every') ?? '3s'),
    requests: expect === undefined ? requests : requests.map(each => ({ expect, ...each })),
    fresh: parseCount('--fresh', last('--fresh') ?? '0', 0),
    webSockets: all('--websocket').map(text => parsePath('--websocket', text)),
    events: all('--events').map(text => parsePath('--events', text)),
    latency: parseTime('--latency', last('--latency') ?? '1ms'),
    timeout: parseTime('--timeout', last('--timeout') ?? '10s'),
    compare: [...new Set(all('--compare').flatMap(parseModes))],
    maxFailures: parseCount('--max-failures', last('--max-failures') ?? '0', 0),
    maxP999: optional(last('--max-p999'), text => parseTime('--max-p999', text)),
    json: last('--json') !== undefined,
    html: last('--html')
  }
  if (plan.every < 100) throw usage('--every must be at least 100ms')
  if (plan.time < plan.every * 1.5)
    throw usage('--for must be at least one and a half times as long as --every: the first is calm')
  if (plan.timeout < 1) throw usage('--timeout must be at least 1ms')
  if (plan.clients + plan.fresh + plan.webSockets.length + plan.events.length === 0)
    throw usage('--clients 0 needs --fresh, --websocket or --events')
  return plan
}

/** @returns milliseconds of `100ms`, `20s` or `2m`; a plain number is in milliseconds, as in all other options */
function parseTime(name: string, text: string): number {
  const [, amount, unit = 'ms'] = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text) ?? []
  const ms = Number(amount) * (unit === 'ms' ? 1 : unit === 's' ? 1_000 : 60_000)
  if (!(ms <= 86_400_000)) throw usage(`${name} must be a time as 100ms, 20s or 2m, but is ${text}`)
  return ms
}

/** @param text `0-100ms`, or one time */
function parsePause(text: string): readonly [number, number] {
  const [, least, unit, most] = /^(\d+(?:\.\d+)?)(ms|s|m)?-(.+)$/.exec(text) ?? []
  if (least === undefined || most === undefined) {
    const pause = parseTime('--pause', text)
    return [pause, pause]
  }
  const ownUnit = unit ?? /[a-z]+$/.exec(most)?.[0] ?? 'ms'
  const pause = [parseTime('--pause', least + ownUnit), parseTime('--pause', most)] as const
  if (pause[0] > pause[1]) throw usage(`--pause must be from less to more, but is ${text}`)
  return pause
}

function parseCount(name: string, text: string, least: number): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : -1
  if (count < least) throw usage(`${name} must be a whole number, but is ${text}`)
  return count
}

function parsePath(name: string, text: string): string {
  if (!/^\/\S*$/.test(text)) throw usage(`${name} must be a path that begins with /, but is ${text}`)
  return text
}

function parseStatus(name: string, text: string): number {
  const status = Number(text)
  if (!isStatus(status)) throw usage(`${name} must be a status as 200, but is ${text}`)
  return status
}

function parseModes(text: string): Mode[] {
  return text.split(',').map(mode => {
    if (mode !== 'restart' && mode !== 'close')
      throw usage(`--compare must be restart, close or both of them (restart,close), but is ${text}`)
    return mode
  })
}

function optional<Value>(text: string | undefined, parse: (text: string) => Value): Value | undefined {
  return text === undefined ? undefined : parse(text)
}

function usage(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
}
