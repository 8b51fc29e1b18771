import { createLiveLine, type Screen } from '../client/live-line.js'
import type { Outcome } from './change.js'
import type { ChangeWatcher } from './changes.js'
import { milliseconds, plural } from './format.js'
import type { Mode } from './plan.js'
import { stepTime, type Tally } from './tally.js'

/** What is seen of a rehearsal while it goes on: a line per second, and one for each change. */
export interface LiveView extends ChangeWatcher {
  /** For the moment. */
  note(text: string): void
  /** To stay. */
  line(text: string): void
  /** Tells of what is counted, until `stop()`. */
  follow(tally: Tally): void
  stop(): void
}

/** Between two lines, in milliseconds. */
const interval = 1_000

export function createLiveView(stdout: Screen, mode: Mode): LiveView {
  const live = createLiveLine(stdout, () => performance.now())
  let timer: NodeJS.Timeout | undefined
  let isChanging: string | undefined
  return { note, line, follow, stop, began, ready }

  function note(text: string): void {
    live.note(seconds => `${text}… ${seconds}`)
  }

  function line(text: string): void {
    live.line(text)
    if (isChanging !== undefined && stdout.isTTY) note(isChanging)
  }

  function follow(tally: Tally): void {
    const begun = performance.now()
    let before = tally.total()
    timer = setInterval(() => {
      const total = tally.total()
      const seconds = Math.round((performance.now() - begun) / 1_000)
      line(describeSecond(seconds, total, before, latestOf(tally)))
      before = total
    }, interval)
  }

  function stop(): void {
    clearInterval(timer)
    isChanging = undefined
    live.clear()
  }

  function began(number: number): void {
    isChanging = `${nounOf(mode)} ${number}`
    if (stdout.isTTY) note(isChanging)
  }

  function ready(number: number, { boot, failure, generation }: Outcome): void {
    isChanging = undefined
    const what = `── ${nounOf(mode)} ${number}`
    if (failure !== undefined) return live.line(`${what}: failed, ${failure.message}`)
    const who = generation === undefined ? 'the next one' : `generation ${generation}`
    live.line(`${what}: ${who} serves after ${milliseconds(boot ?? 0)}`)
  }
}

export function nounOf(mode: Mode): string {
  return mode === 'upgrade' ? 'upgrade' : 'restart'
}

type Total = ReturnType<Tally['total']>

function describeSecond(seconds: number, total: Total, before: Total, longest: number | undefined): string {
  const answers = plural(total.answers - before.answers, 'answer')
  const slowest = longest === undefined ? '' : `, longest ${milliseconds(longest)}`
  const failures = total.failures - before.failures
  const reconnects = total.reconnects - before.reconnects
  const again = reconnects === 0 ? '' : `, ${plural(reconnects, 'reconnect')}`
  return `${seconds} s: ${answers}, ${plural(failures, 'failure')}${again}${slowest}`
}

/** The longest answer of the last second, in milliseconds. */
function latestOf({ steps }: Tally): number | undefined {
  const latest = steps.slice(-interval / stepTime).flatMap(({ took }) => took)
  return latest.length === 0 ? undefined : latest.reduce((longest, ms) => Math.max(longest, ms), 0)
}
