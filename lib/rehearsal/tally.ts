import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { FailureKind, RequestFailure } from './failure.js'
import type { PlannedRequest } from './requests.js'

/** What has gone wrong in the same way: of one kind, for one request or path. */
export interface FailureGroup {
  readonly kind: FailureKind
  /** `GET /`, `WebSocket /chat` */
  readonly what: string
  /** Of the answer, where that was the failure. */
  readonly status?: number
  /** The status that it should have had. */
  readonly expected?: readonly number[]
  /** In the words of whoever has failed first. */
  readonly message: string
  count: number
  /** How many came while no upgrade was under way. */
  calm: number
  /** Around which upgrades the others came, by number. */
  readonly upgrades: Set<number>
  /** The longest time that one of them had waited, in milliseconds. */
  longest: number
}

/** Numbers of a time, or of one upgrade. */
export interface Share {
  answers: number
  /** Of requests. */
  failures: number
  /** Of WebSockets and streams of events. */
  losses: number
  reconnects: number
  /** Of answers, in microseconds. */
  readonly latencies: RecordableHistogram
}

/** One step of time. */
export interface Step {
  /** Milliseconds that answers took. */
  readonly took: number[]
  failures: number
}

type Failed = Pick<FailureGroup, 'kind' | 'what' | 'status' | 'expected' | 'message'>

/** Counts what clients see, as it comes. */
export interface Tally {
  readonly calm: Share
  /** Around each upgrade, by its number from 1 on. */
  readonly upgrades: ReadonlyMap<number, Share>
  readonly groups: readonly FailureGroup[]
  /** From the beginning on, each `stepTime` long. */
  readonly steps: readonly Step[]
  /** Of those that keep their connection, how many have had to open another one. */
  reconnected(): number
  total(): Pick<Share, 'answers' | 'failures' | 'losses' | 'reconnects'>
  answered(request: PlannedRequest, status: number, began: number): void
  failed(what: string, failure: RequestFailure, began: number): void
  /** The same of what is no request: a WebSocket, or a stream of events. */
  lost(what: string, failure: RequestFailure, began: number): void
  reconnect(client: number): void
  /** The statuses of before the first upgrade, by request. */
  usual(): ReadonlyMap<PlannedRequest, ReadonlySet<number>>
  /** What comes from now on belongs to this upgrade; undefined for none. */
  around(upgrade: number | undefined): void
  /** What statuses were up to now are those that are expected. */
  learned(): void
}

/** Of a step, in milliseconds. */
export const stepTime = 250

export function createTally(now: () => number = () => performance.now()): Tally {
  const start = now()
  const calm = createShare()
  const upgrades = new Map<number, Share>()
  const groups = new Map<string, FailureGroup>()
  const steps: Step[] = []
  const clients = new Set<number>()
  /** By request; what comes before the first upgrade. */
  const usual = new Map<PlannedRequest, Set<number>>()
  let isLearning = true
  let upgrade: number | undefined
  return {
    calm,
    upgrades,
    get groups() {
      return [...groups.values()]
    },
    steps,
    reconnected: () => clients.size,
    usual: () => usual,
    total,
    answered,
    failed,
    lost,
    reconnect,
    around,
    learned
  }

  function answered(request: PlannedRequest, status: number, began: number): void {
    const failure = judge(request, status)
    if (failure !== undefined) return note({ ...failure, what: request.name }, began, 'failures')
    const took = now() - began
    const share = current()
    share.answers++
    share.latencies.record(Math.max(Math.round(took * 1_000), 1))
    step().took.push(took)
  }

  function judge(request: PlannedRequest, status: number): Omit<Failed, 'what'> | undefined {
    const known = usual.get(request) ?? new Set()
    const isExpected = request.expect !== undefined
    const isUsual = isLearning || known.size === 0 // a slow start has no answer before
    if (isUsual && status < 500 && !isExpected) usual.set(request, known.add(status))
    const expected = isExpected ? [request.expect as number] : [...known]
    if (expected.includes(status)) return undefined
    const kind = status >= 500 ? '5xx' : 'status'
    return { kind, status, expected, message: `it was answered with ${status}` }
  }

  function failed(what: string, { kind, message }: RequestFailure, began: number): void {
    note({ kind, what, message }, began, 'failures')
  }

  function lost(what: string, { kind, message }: RequestFailure, began: number): void {
    note({ kind, what, message }, began, 'losses')
  }

  function note(failure: Failed, began: number, where: 'failures' | 'losses'): void {
    const key = `${failure.kind} ${failure.status} ${failure.what}`
    const group = groups.get(key) ?? { ...failure, count: 0, calm: 0, upgrades: new Set(), longest: 0 }
    groups.set(key, group)
    group.count++
    group.longest = Math.max(group.longest, now() - began)
    if (upgrade === undefined) group.calm++
    else group.upgrades.add(upgrade)
    current()[where]++
    step().failures++
  }

  function reconnect(client: number): void {
    clients.add(client)
    current().reconnects++
  }

  function learned(): void {
    isLearning = false
  }

  function around(number: number | undefined): void {
    upgrade = number
  }

  function current(): Share {
    if (upgrade === undefined) return calm
    const share = upgrades.get(upgrade) ?? createShare()
    upgrades.set(upgrade, share)
    return share
  }

  function step(): Step {
    const index = Math.floor((now() - start) / stepTime)
    while (steps.length <= index) steps.push({ took: [], failures: 0 })
    return steps[index] as Step
  }

  function total() {
    const all = [calm, ...upgrades.values()]
    const sum = (name: 'answers' | 'failures' | 'losses' | 'reconnects') =>
      all.reduce((total, share) => total + share[name], 0)
    return {
      answers: sum('answers'),
      failures: sum('failures'),
      losses: sum('losses'),
      reconnects: sum('reconnects')
    }
  }
}

function createShare(): Share {
  return { answers: 0, failures: 0, losses: 0, reconnects: 0, latencies: createHistogram() }
}
