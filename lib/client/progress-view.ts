import type { ConnectionCounts, ConnectionState } from '../connections/state.js'
import type { Progress } from '../control/messages.js'
import { describeHoldUp, type HoldUp } from '../drain/hold-up.js'
import { type DrainReport, totalFate, ways } from '../drain/report.js'
import type { ProbationStatus } from '../probation/probation.js'
import type { Tally } from '../protocol/probation.js'
import { duration } from './duration.js'
import { createLiveLine, type LiveLine, type Screen } from './live-line.js'

/** Shortest time between two plain lines about a drain, in milliseconds. */
const plainInterval = 1_000

/** The same about a probation, which may be long. */
const probationInterval = 10_000

interface Boot {
  readonly name: 'boot'
  readonly who: string
  readonly begun: number
}

/** Lines about an upgrade. */
export interface ProgressView extends LiveLine {
  show(progress: Progress): void
}

/** @param now a clock, in milliseconds */
export function createProgressView(
  stdout: Screen,
  now: () => number = () => performance.now()
): ProgressView {
  const live = createLiveLine(stdout, now)
  let phase: Boot | { readonly name: 'probation' } | undefined
  let counted: { readonly text: string; readonly at: number } | undefined
  return { ...live, show }

  function show(progress: Progress): void {
    switch (progress.stage) {
      case 'booting':
        phase = { name: 'boot', who: nameOf(progress), begun: now() }
        return noteBoot()
      case 'worker':
        live.line(`worker ${progress.worker} (pid ${progress.pid}) ${readyAfter(progress)}`)
        return stdout.isTTY ? noteBoot() : undefined // the others boot yet
      case 'unchecked':
        live.line(`${whoseCheck(progress)}: ${progress.request} ${progress.outcome}`)
        return stdout.isTTY ? noteBoot() : undefined
      case 'scaling':
        return live.note(seconds => `${describeWorkers(progress.workers)}… ${seconds}`)
      case 'probation':
        return watch(progress)
      case 'ready':
        return live.line(
          `${nameOf(progress)} ${phase?.name === 'probation' ? 'serves alone' : readyAfter(progress)}`
        )
      case 'draining':
        return drain(progress)
      case 'retired': {
        const time = duration(progress.ms)
        return live.line(
          `${nameOf(progress)} retired after ${time}${ending(progress)}${fates(progress.report)}`
        )
      }
    }
  }

  function noteBoot(): void {
    if (phase?.name !== 'boot') return
    const { who, begun } = phase
    live.note(seconds => `${who} booting… ${seconds}`, begun)
  }

  function watch(progress: Extract<Progress, { stage: 'probation' }>): void {
    if (phase?.name !== 'probation') {
      phase = { name: 'probation' }
      const text = `${nameOf(progress)} on probation for ${duration(roundedUp(progress.left))}`
      counted = { text, at: now() }
      live.line(text)
    }
    const text = `${timeLeft(progress)}; 5xx: ${describeErrors(progress)}`
    return stdout.isTTY ? live.note(() => text) : plainly(text, probationInterval)
  }

  function drain({ generation, connections, heldUpBy = [] }: Extract<Progress, { stage: 'draining' }>): void {
    const text = `generation ${generation} draining${counts(connections)}`
    if (stdout.isTTY) return live.note(() => text + waits(heldUpBy, describeWait))
    const told = text + waits(heldUpBy, describeHoldUp) // each second is no news
    if (told !== counted?.text) plainly(told, plainInterval)
  }

  function plainly(text: string, interval: number): void {
    if (counted && now() - counted.at < interval) return
    counted = { text, at: now() }
    live.line(text)
  }
}

/** To tenths of a second: it has just begun. */
function roundedUp(ms: number): number {
  return Math.ceil(ms / 100) * 100
}

function readyAfter({ ms }: { readonly ms: number }): string {
  return `ready after ${duration(ms)}`
}

export function timeLeft({ left }: ProbationStatus): string {
  return left > 0 ? `${duration(left)} left` : 'its time is over'
}

/** How often each of the two has answered with 5xx, on one line of a terminal. */
export function describeErrors({
  generation,
  candidate,
  current
}: { readonly generation: number } & ProbationStatus): string {
  return `${share(candidate)} by generation ${generation}, ${share(current)} by the old one`
}

function share({ responses, errors }: Tally): string {
  return `${errors} of ${responses}`
}

export function describeWorkers(workers: number): string {
  return `${workers} ${workers === 1 ? 'worker' : 'workers'}`
}

/** Who could not be started has no pid. */
function nameOf({ generation, pid }: { readonly generation: number; readonly pid: number | null }): string {
  return pid ? `generation ${generation} (pid ${pid})` : `generation ${generation}`
}

function whoseCheck({ generation, worker }: Extract<Progress, { stage: 'unchecked' }>): string {
  const name = worker == null ? '' : `worker ${worker} of `
  return `${name}generation ${generation} is not ready`
}

export const states: readonly ConnectionState[] = ['idle', 'active', 'fresh', 'detached']

function counts(connections: ConnectionCounts | null): string {
  if (connections === null) return ''
  return `: ${listed(states, connections) || 'no connections'}`
}

function ending({ code, signal }: Extract<Progress, { stage: 'retired' }>): string {
  if (signal != null) return `, by ${signal}`
  return code ? `, with exit code ${code}` : ''
}

/** What became of the connections, as far as there were any. */
function fates(report: DrainReport | null | undefined): string {
  const some = report ? listed(ways, totalFate(report)) : ''
  return some && `: ${some}`
}

/** `; waits for GET /report (12.3 s), WebSocket /chat (12.3 s)` */
function waits(heldUpBy: readonly HoldUp[], describe: (holdUp: HoldUp) => string): string {
  return heldUpBy.length === 0 ? '' : `; waits for ${heldUpBy.map(describe).join(', ')}`
}

function describeWait(holdUp: HoldUp): string {
  return `${describeHoldUp(holdUp)} (${duration(holdUp.ms)})`
}

/** `12 idle, 3 active`: those that there are. */
function listed<Name extends string>(
  names: readonly Name[],
  counts: Readonly<Partial<Record<Name, number>>>
): string {
  return names
    .filter(name => (counts[name] ?? 0) > 0)
    .map(name => `${counts[name]} ${name}`)
    .join(', ')
}
