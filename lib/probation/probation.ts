import type { Tally } from '../protocol/probation.js'
import * as clock from '../time/clock.js'
import { createDeferred } from '../time/deferred.js'
import { idlePause } from '../time/pause.js'
import { hasEnoughErrors, isWorse } from './comparison.js'

/** Two generations serve, and one of them is the candidate: it is watched until it is known what becomes of it. */
export interface Probation {
  /** Never rejects. */
  readonly outcome: Promise<Outcome>
  /** The candidate is good, whatever time is left. */
  confirm(reason: string): void
  /** It is over at once. */
  end(outcome: Outcome): void
  /** The candidate has answered with an error: both are looked at now. */
  erred(): void
  status(): ProbationStatus
}

export type Outcome =
  /** It is good, and complete. */
  | { readonly name: 'confirmed'; readonly reason: string }
  /** The one beside it has died: it is the one that serves now, complete or not. */
  | { readonly name: 'promoted'; readonly reason: string }
  | {
      readonly name: 'failed'
      readonly reason: string
      /** It doesn't even drain any more. */
      readonly hangs?: boolean
    }
  /** Nobody is to serve any more. */
  | { readonly name: 'closing' }

export interface ProbationStatus {
  /** What is left of it, in milliseconds. */
  readonly left: number
  /** What each has answered since it began. */
  readonly candidate: Tally
  readonly current: Tally
}

/** One of the two. */
export interface Side {
  readonly number: number
  /** Null where it doesn't say so in time. */
  tally(): Promise<Tally | null>
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>
  /** An uncaught error makes it end. */
  readonly dying: Promise<unknown>
}

export interface ProbationOptions {
  readonly candidate: Side & {
    /** A signal has asked it to end. */
    readonly leaving: Promise<unknown>
    /** Starts what it needs to serve alone; the judging goes on meanwhile. */
    complete(): Promise<unknown>
  }
  readonly current: Side
  /** In milliseconds. */
  readonly time: number
  /** More errors than that are too many, whatever the other one does: a share of the responses, from 0 to 1. */
  readonly errorRate?: number | false
  onLook?(status: ProbationStatus): void
  /** Pause between two looks, in milliseconds. @default 500 */
  readonly interval?: number
  /** Who says nothing for so long, while the other one does, hangs: in milliseconds. @default 5000 */
  readonly hangTime?: number
  now?(): number
  /** Resolves after so many milliseconds, or when it is aborted. */
  pause?(ms: number, signal: AbortSignal): Promise<unknown>
}

/** So often in a row it has not answered then: a machine that stood still, or was suspended, is not its fault. */
const leastMissed = 3

const none: Tally = { responses: 0, errors: 0 }

export function beginProbation(options: ProbationOptions): Probation {
  const { candidate, current, time, errorRate = false, onLook, interval = 500, hangTime = 5_000 } = options
  const { now = clock.now, pause = idlePause } = options
  const begun = now()
  const outcome = createDeferred<Outcome>()
  /** When each has been asked what it has answered last, and how often it has not answered since. */
  const heard = { candidate: { at: begun, missed: 0 }, current: { at: begun, missed: 0 } }
  const tallies = { candidate: none, current: none }
  /** 'complete': only that it answers is waited for. */
  let phase: 'watching' | 'completing' | 'complete' | 'over' = 'watching'
  let verdict = 'its time is over'
  let isUrgent = false
  /** Why there is no other one any more. */
  let orphaned: string | undefined
  let resting = new AbortController()
  void candidate.ended.then(({ code, signal }) => fail(`it has ended by ${signal ?? `code ${code}`}`))
  void candidate.dying.then(() => fail('it has an uncaught error'))
  void candidate.leaving.then(() => fail('a signal has asked it to end'))
  void Promise.race([current.ended, current.dying]).then(onDeathOfCurrent)
  void watch()
  return {
    outcome: outcome.promise,
    confirm(reason) {
      verdict = reason
      if (phase === 'watching') void complete()
    },
    end,
    erred: lookNow,
    status
  }

  function status(): ProbationStatus {
    return { left: Math.max(Math.round(begun + time - now()), 0), ...tallies }
  }

  function end(given: Outcome): void {
    if (isOver()) return
    phase = 'over'
    resting.abort()
    outcome.resolve(given)
  }

  function fail(reason: string, hangs?: boolean): void {
    end({ name: 'failed', reason, ...(hangs && { hangs }) })
  }

  function isOver(): boolean {
    return phase === 'over'
  }

  async function watch(): Promise<void> {
    while (!isOver()) {
      if (!isUrgent) await untilNextLook()
      isUrgent = false
      if (isOver()) return
      const answers = await look() // one that hangs is not confirmed
      if (answers && orphaned !== undefined) return end({ name: 'promoted', reason: orphaned })
      if (answers && phase === 'watching' && now() - begun >= time) void complete()
      if (answers && phase === 'complete') end({ name: 'confirmed', reason: verdict })
    }
  }

  function lookNow(): void {
    isUrgent = true
    resting.abort()
  }

  async function untilNextLook(): Promise<void> {
    resting = new AbortController()
    const left = begun + time - now()
    await pause(left > 0 ? Math.min(interval, left) : interval, resting.signal)
  }

  async function complete(): Promise<void> {
    phase = 'completing'
    try {
      await candidate.complete()
      if (isOver()) return
      phase = 'complete'
      lookNow()
    } catch (error) {
      fail((error as Error).message)
    }
  }

  /** @returns whether the candidate has answered */
  async function look(): Promise<boolean> {
    const [answers] = await Promise.all([ask('candidate', candidate), ask('current', current)])
    if (isOver()) return false
    onLook?.(status())
    judge()
    return answers
  }

  async function ask(name: keyof typeof tallies, side: Side): Promise<boolean> {
    const asked = now()
    const tally = await side.tally()
    if (tally === null) {
      heard[name].missed++
      return false
    }
    heard[name] = { at: asked, missed: 0 }
    tallies[name] = tally
    return true
  }

  function judge(): void {
    const silent = now() - heard.candidate.at
    const hangs = silent > hangTime && heard.candidate.missed >= leastMissed
    if (hangs && orphaned !== undefined) return fail(`${orphaned}, and it doesn't answer`, true)
    if (hangs && now() - heard.current.at < hangTime)
      return fail(`its event loop has not answered for ${Math.round(silent / 1_000)} s`, true)
    const { responses, errors } = tallies.candidate
    const isAbove =
      errorRate !== false && hasEnoughErrors(tallies.candidate) && errors > errorRate * responses
    if (!isAbove && !isWorse(tallies.candidate, tallies.current)) return
    const beside = `${tallies.current.errors} of ${tallies.current.responses} by generation ${current.number}`
    fail(`${errors} of its ${responses} responses were 5xx, and ${beside}`)
  }

  /** Somebody has to serve; but not one that hangs, too. */
  async function onDeathOfCurrent(): Promise<void> {
    orphaned = `generation ${current.number} has died`
    if (isOver()) return
    if (await ask('candidate', candidate)) end({ name: 'promoted', reason: orphaned })
    else lookNow()
  }
}
