import { GracefulUpgradeError } from '../errors.js'
import type { UnderWay } from './change.js'
import { scheduleChanges } from './changes.js'
import { type ClientDelay, watchClientDelay } from './client-delay.js'
import { type Facts, findingsOf } from './findings.js'
import type { LiveView } from './live-view.js'
import { type Load, startLoad, tryRequests } from './load.js'
import { watchMemory } from './memory.js'
import { numbersOf, shareOf, unusual } from './numbers.js'
import type { Mode, Plan } from './plan.js'
import type { RunReport } from './report.js'
import { beginRestart } from './restart.js'
import { type Server, type Serving, type Start, startServer } from './server.js'
import { createTally, type Tally } from './tally.js'
import { describeTarget, findTarget, type Target } from './target.js'
import type { Undici } from './undici.js'
import { beginUpgrade } from './upgrade.js'

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

/**
 * Starts the application, loads it, changes its version again and again, and ends it.
 * @returns undefined if it has no use for this plugin, and so can't be upgraded
 * @throws GRACEFUL_UPGRADE_REHEARSAL if it can't be started, or doesn't answer
 */
export async function runOnce(settings: RunSettings): Promise<RunReport | undefined> {
  const { plan, mode, start, undici, view, interruption } = settings
  const isUpgrade = mode === 'upgrade'
  let server = startServer(start)
  const ended = new AbortController()
  const signal = AbortSignal.any([interruption, ended.signal])
  let load: Load | undefined
  try {
    view.note(isUpgrade ? 'starting the application' : `starting the application, to compare with ${mode}`)
    const serving = await server.serving(interruption)
    const { control, listeners, generation } = serving
    if (isUpgrade && control === undefined) return undefined
    const target = await findTarget(listeners, plan.requests[0]?.path ?? '/')
    const where = describeTarget(target)
    if (plan.compare.length > 0) mustStay(target, serving)
    await tryRequests(undici, target, plan)
    view.line(`${isUpgrade ? '' : `Compared with ${mode}: `}${where}, generation ${generation}`)
    if (isUpgrade) void server.exited.then(() => ended.abort())
    const tally = createTally()
    const delay = watchClientDelay()
    load = startLoad(undici, target, plan, tally)
    view.follow(tally)
    forget(tally, delay, Math.min(warmUp, plan.every / 2))
    const memory = watchMemory(isUpgrade ? control : undefined, signal)
    const patience = new AbortController()
    const waits = AbortSignal.any([patience.signal, interruption])
    const begin = () =>
      isUpgrade && control !== undefined
        ? beginUpgrade(control, waits)
        : restart(target, control === undefined)
    const changes = scheduleChanges(plan, begin, tally, view, signal)
    await changes.done
    view.stop()
    view.note('waiting for the last answers')
    await load.stop()
    const clientDelay = delay.stop()
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
        ...memory.around(change.generation)
      })),
      stays: load.stays,
      clientDelay,
      ...(death && { death }),
      ...(interruption.aborted && { interrupted: true })
    }
    return { ...facts, findings: findingsOf(facts, server.output.complaints(), unusual(tally)) }
  } finally {
    view.stop()
    load?.destroy()
    await server.kill()
  }

  function restart(target: Target, isPlain: boolean): UnderWay {
    return beginRestart(server, mode === 'close', async () => {
      server = startServer({ ...start, isPlain })
      const { listeners } = await server.serving(interruption)
      if (!listeners.some(({ bound }) => bound === target.bound)) throw usage(otherPort)
    })
  }
}

const otherPort = '--compare needs a port that is the same after a restart: let the application listen on one'

/** A free port is another one after a restart. */
function mustStay({ bound }: Target, { listeners }: Serving): void {
  const isFree = listeners.some(listener => listener.bound === bound && /^tcp:.*:0#/.test(listener.key ?? ''))
  if (isFree) throw usage(otherPort)
}

function usage(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
}

/** How long answers took up to then; failures are not forgotten. */
function forget(tally: Tally, delay: ClientDelay, ms: number): void {
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
