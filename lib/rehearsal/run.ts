import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { askStatus } from '../client/watch.js'
import type { Status } from '../control/messages.js'
import { GracefulUpgradeError } from '../errors.js'
import { idlePause } from '../pause.js'
import type { UnderWay } from './change.js'
import { scheduleChanges } from './changes.js'
import { failureKinds } from './failure.js'
import { type Facts, findingsOf } from './findings.js'
import { latenciesOf, timelineOf } from './latencies.js'
import type { LiveView } from './live-view.js'
import { type Load, startLoad, tryRequests } from './load.js'
import type { Mode, Plan } from './plan.js'
import type { ChangeReport, RunReport } from './report.js'
import { beginRestart } from './restart.js'
import { type Server, type Start, startServer } from './server.js'
import { createTally, type Tally } from './tally.js'
import { findTarget, type Target } from './target.js'
import type { Undici } from './undici.js'
import { beginUpgrade, memoryOf } from './upgrade.js'

export interface RunSettings {
  readonly plan: Plan
  readonly mode: Mode
  readonly start: Start
  readonly undici: Undici
  readonly view: LiveView
  /** Ends it before its time; what was seen by then is told. */
  readonly interruption: AbortSignal
}

/** Once the clients have gone, an old version has so long to end, in milliseconds. */
const settleTime = 5_000

/** How long the server may take to end, in milliseconds. */
const stopLimit = 15_000

/** What the first answers take is the time of code that isn't compiled yet, here and there; in milliseconds. */
const warmUp = 1_000

/** Between two looks at the memory, in milliseconds. */
const lookInterval = 500

/** Of the event loop's clock, in milliseconds: it counts as none. */
const resolution = 10

/**
 * Starts the application, loads it, changes its version again and again, and ends it.
 * @throws GRACEFUL_UPGRADE_REHEARSAL if it can't be started, or doesn't answer
 */
export async function runOnce(settings: RunSettings): Promise<RunReport> {
  const { plan, mode, start, undici, view, interruption } = settings
  let server = startServer(start)
  const ended = new AbortController()
  const signal = AbortSignal.any([interruption, ended.signal])
  let load: Load | undefined
  try {
    view.note(
      mode === 'upgrade' ? 'starting the application' : `starting the application, to compare with ${mode}`
    )
    const { control, status } = await server.serving(interruption)
    const target = await findTarget(status.listeners, plan.requests[0]?.path ?? '/')
    if (plan.compare.length > 0) mustStay(target, status)
    await tryRequests(undici, target, plan)
    const where = describe(target)
    view.line(
      `${mode === 'upgrade' ? '' : `Compared with ${mode}: `}${where}, generation ${status.generations[0]?.generation ?? 1}`
    )
    if (mode === 'upgrade') void server.exited.then(() => ended.abort())
    const tally = createTally()
    const delay = monitorEventLoopDelay({ resolution })
    delay.enable()
    load = startLoad(undici, target, plan, tally)
    view.follow(tally)
    forget(tally, delay, Math.min(warmUp, plan.every / 2))
    const memory = mode === 'upgrade' ? watchMemory(control, signal) : new Map<number, number>()
    const patience = new AbortController()
    const begin =
      mode === 'upgrade'
        ? () => beginUpgrade(control, AbortSignal.any([patience.signal, interruption]))
        : restart
    const changes = scheduleChanges(plan, begin, tally, view, signal)
    await changes.done
    view.stop()
    view.note('waiting for the last answers')
    await load.stop()
    delay.disable()
    const timer = setTimeout(() => patience.abort(), interruption.aborted ? 0 : settleTime)
    const settled = await changes.settled()
    clearTimeout(timer)
    const death = ended.signal.aborted && !interruption.aborted ? await deathOf(server) : undefined
    view.note('ending the application')
    if (interruption.aborted) await server.kill()
    else await server.stop(stopLimit)
    const facts: Facts = {
      mode,
      target: where,
      ...numbersOf(tally, plan),
      changes: settled.map(change => ({
        ...change,
        ...shareOf(tally, change.number),
        ...sizesOf(memory, change.generation)
      })),
      stays: load.stays,
      clientDelay: { p99: lateness(delay.percentile(99)), longest: lateness(delay.max) },
      ...(death && { death }),
      ...(interruption.aborted && { interrupted: true })
    }
    return { ...facts, findings: findingsOf(facts, server.output.complaints(), unusual(tally)) }
  } finally {
    view.stop()
    load?.destroy()
    await server.kill()
  }

  function restart(): UnderWay {
    return beginRestart(server, mode === 'close', async () => {
      server = startServer(start)
      await server.serving(interruption)
    })
  }
}

/** A free port is another one after a restart. */
function mustStay({ bound }: Target, { listeners }: Status): void {
  const isFree = listeners.some(listener => listener.bound === bound && /^tcp:.*:0#/.test(listener.key))
  if (!isFree) return
  const detail = '--compare needs a port that is the same after a restart: let the application listen on one'
  throw new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
}

/** How long answers took up to then; failures are not forgotten. */
function forget(tally: Tally, delay: IntervalHistogram, ms: number): void {
  const reset = () => {
    tally.calm.latencies.reset()
    delay.reset()
  }
  setTimeout(reset, ms).unref()
}

/** It has not been told to end. */
async function deathOf({ exited, output }: Server): Promise<NonNullable<RunReport['death']>> {
  const { code, signal } = await exited
  await output.closed
  return { how: signal ?? `exit code ${code}`, lastWords: output.lastWords() }
}

/** @returns bytes, by generation, as they come */
function watchMemory(control: string, signal: AbortSignal): Map<number, number> {
  const memory = new Map<number, number>()
  void look()
  return memory

  async function look(): Promise<void> {
    while (!signal.aborted) {
      try {
        for (const [generation, bytes] of memoryOf(await askStatus(control, signal)))
          memory.set(generation, Math.max(bytes, memory.get(generation) ?? 0))
      } catch {
        return // it ends, or has ended
      }
      await idlePause(lookInterval, signal)
    }
  }
}

function numbersOf(tally: Tally, plan: Plan) {
  const { answers, failures, losses, reconnects } = tally.total()
  const groups = tally.groups.map(({ upgrades, ...group }) => ({ ...group, upgrades: [...upgrades] }))
  const order = (kind: (typeof failureKinds)[number]) => failureKinds.indexOf(kind)
  groups.sort((one, other) => order(one.kind) - order(other.kind))
  const kinds: Partial<Record<(typeof failureKinds)[number], number>> = {}
  for (const { kind, count } of groups) kinds[kind] = (kinds[kind] ?? 0) + count
  const around = latenciesOf([...tally.upgrades.values()])
  const calm = latenciesOf([tally.calm])
  return {
    requests: answers + failures,
    failures,
    losses,
    kinds,
    groups,
    clients: plan.clients,
    reconnects,
    reconnected: tally.reconnected(),
    ...(around && { around }),
    ...(calm && { calm }),
    timeline: timelineOf(tally.steps)
  }
}

function shareOf(
  { upgrades }: Tally,
  number: number
): Pick<ChangeReport, 'answers' | 'failures' | 'reconnects' | 'latencies'> {
  const share = upgrades.get(number)
  if (share === undefined) return { answers: 0, failures: 0, reconnects: 0 }
  const { answers, failures, reconnects } = share
  const latencies = latenciesOf([share])
  return { answers, failures, reconnects, ...(latencies && { latencies }) }
}

function sizesOf(
  memory: ReadonlyMap<number, number>,
  generation: number | undefined
): Pick<ChangeReport, 'memory'> {
  if (generation === undefined) return {}
  const [old, next] = [memory.get(generation - 1), memory.get(generation)]
  return { memory: { ...(old !== undefined && { old }), ...(next !== undefined && { next }) } }
}

/** @param nanoseconds between two ticks of a clock @returns milliseconds beyond what they should be */
function lateness(nanoseconds: number): number {
  return Math.max(nanoseconds / 1e6 - resolution, 0)
}

function describe({ origin, path, protocol, bound }: Target): string {
  const what = protocol === 'h2' ? 'HTTP/2' : 'HTTP/1.1'
  return `${what}${origin.startsWith('https') ? ' over TLS' : ''} on ${path ?? bound}`
}

function unusual(tally: Tally): string[] {
  return [...tally.usual()].flatMap(([{ name, expect }, statuses]) => {
    const odd = [...statuses].filter(status => status >= 400)
    if (odd.length === 0 || expect !== undefined) return []
    return [
      `${name} was answered with ${odd.join(', ')} already before the first upgrade: name requests that matter by --request.`
    ]
  })
}
