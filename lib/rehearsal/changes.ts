import { pause } from '../time/pause.js'
import type { Change, Outcome, UnderWay } from './change.js'
import type { Plan } from './plan.js'
import type { Tally } from './tally.js'

/** What is told of changes as they go. */
export interface ChangeWatcher {
  began(number: number): void
  ready(number: number, outcome: Outcome): void
}

/** What a change may break may show some time after it, in milliseconds. */
const aftermath = 1_000

/** Where fewer remain of the time of the load, no change begins, in milliseconds. */
const leastRest = 500

/** Changes of versions, one after the other, and what became of them. */
export interface Changes {
  /** Resolves when the last one serves, has failed, or was given up. */
  readonly done: Promise<void>
  /** Resolves when all old versions have ended, or are not waited for any longer. */
  settled(): Promise<readonly Change[]>
}

/**
 * One change each `every` milliseconds, while there is load; the first time is calm. One that takes longer is waited for.
 * @param signal no other change begins
 */
export function scheduleChanges(
  { time, every }: Pick<Plan, 'time' | 'every'>,
  begin: () => UnderWay,
  tally: Pick<Tally, 'around' | 'learned'>,
  watcher: ChangeWatcher,
  signal: AbortSignal
): Changes {
  const start = performance.now()
  const changes: Change[] = []
  const endings: Promise<void>[] = []
  let last = 0
  return { done: run(), settled }

  async function run(): Promise<void> {
    for (let at = every; at + leastRest <= time; at = nextAfter(at)) {
      if (!(await isTime(at))) return
      await change()
    }
    const rest = Math.max(time - (performance.now() - start), endings.length > 0 ? aftermath : 0)
    await pause(rest, signal)
  }

  /** A timer may be early, by less than a millisecond. */
  function nextAfter(last: number): number {
    return Math.max(last + every, Math.ceil((performance.now() - start) / every) * every)
  }

  async function isTime(at: number): Promise<boolean> {
    const rest = start + at - performance.now()
    if (rest > 0) await pause(rest, signal)
    return !signal.aborted
  }

  async function change(): Promise<void> {
    const number = ++last
    const at = performance.now() - start
    tally.learned()
    tally.around(number)
    watcher.began(number)
    const { ready, over } = begin()
    const soon = await ready
    watcher.ready(number, soon)
    endings.push(finish({ number, at }, over))
  }

  async function finish(change: Pick<Change, 'number' | 'at'>, over: UnderWay['over']): Promise<void> {
    const rest = pause(aftermath)
    changes.push({ ...change, ...(await over) })
    await rest
    if (change.number === last) tally.around(undefined)
  }

  async function settled(): Promise<readonly Change[]> {
    await Promise.all(endings)
    return changes.sort((one, other) => one.number - other.number)
  }
}
