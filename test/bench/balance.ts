import { availableParallelism } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from '../../lib/client/ask.js'
import type { Status } from '../../lib/control/messages.js'
import { createDeferred } from '../../lib/time/deferred.js'
import { type LogLine, type Running, supervised, temporaryDirectory, withServer } from './contender.ts'
import { median } from './harness.ts'
import { type Busy, busyDuring } from './processor.ts'
import { type Cast, type Scene, scenes } from './scenes.ts'
import { judged, milliseconds, percent, printTable, quantile, sum } from './table.ts'
import { answersFrom } from './traffic.ts'

/** How far apart the loops of both workers may be busy, to be called even. */
const evenGap = 0.2
const lookInterval = 500 // milliseconds
const warmUp = 1_000
/** Of a worker that runs, in milliseconds, also where others take the machine. */
const longestSilence = 2_000
/** What is measured before the load may be evened out, and at the end. */
const window = 2_000

const settings = ['true', 'false'] as const
type Setting = (typeof settings)[number]

/** Of one window. */
interface Figures {
  /** Requests per second. */
  readonly rate: number
  /** In milliseconds. */
  readonly p99: number
  /** Between the shares of time in which the two event loops were busy, at the end. */
  readonly gap: number
}

interface Run {
  readonly before: Figures
  readonly after: Figures
  /** In seconds; undefined where it never was. */
  readonly even: number | undefined
  readonly busy: Busy
  readonly failures: number
  readonly status: Status
}

export interface BalanceOptions {
  readonly section: number
  readonly rounds: number
  /** Of a scene, from its begin on, in milliseconds. */
  readonly length: number
}

/** How fast an uneven load is evened out, and what that brings, next to the same without balance. */
export async function showBalance(options: BalanceOptions): Promise<void> {
  const { section, rounds, length } = options
  console.log(`${section}. Balance of two workers: medians of ${rounds} rounds; ${window / 1_000} s before, and the last ${window / 1_000} of ${length / 1_000} s in which the load may be
   evened out. The gap is between the utilisations of both event loops; even: less than ${evenGap} in two looks, ${lookInterval / 1_000} s apart.
`)
  for (const [index, scene] of scenes.entries()) {
    const runs: Record<Setting, Run[]> = { true: [], false: [] }
    for (let round = 0; round < rounds; round++) {
      for (const setting of settings) runs[setting].push(await play(scene, setting, length))
    }
    console.log(`   ${'abc'[index]}) ${scene.title}`)
    printRuns(runs)
    printRatios(scene, runs)
  }
}

function play(scene: Scene, setting: Setting, length: number): Promise<Run> {
  const control = path.join(temporaryDirectory(), 'control')
  const options = ['--workers', '2', '--balance', setting, '--control-socket', control]
  return withServer(supervised(options, 'balance-server.js', {}), async server => {
    const loops = followLoops(server)
    const cast = await scene.arrange(server.port, [await loops.pid(0), await loops.pid(1)])
    await sleep(warmUp + window)
    const before = figures(cast, loops.gap())
    const gaps: number[] = []
    const looks = setInterval(() => gaps.push(loops.gap()), lookInterval)
    cast.begin()
    await sleep(length - window)
    const busy = await busyDuring(server.group, () => sleep(window))
    const after = figures(cast, loops.gap())
    clearInterval(looks)
    const status = await ask(control, 'status')
    await Promise.all(cast.traffics.map(traffic => traffic.stop()))
    const failures = cast.lost() + sum(cast.traffics.flatMap(each => Object.values(each.failures)))
    cast.end()
    return { before, after, even: evenAfter(gaps), busy, failures, status }
  })
}

/** What the workers say of themselves: to ask the master would let it look more often than it does. */
function followLoops(server: Running) {
  const said = [
    { at: 0, elu: 0 },
    { at: 0, elu: 0 }
  ]
  const pids = [createDeferred<number>(), createDeferred<number>()] as const
  server.follow('load', line => {
    const { worker, pid, elu } = line as LogLine & Record<'pid' | 'elu', number> & { worker: 0 | 1 }
    said[worker] = { at: performance.now(), elu }
    pids[worker].resolve(pid)
  })
  return {
    pid: (worker: 0 | 1) => pids[worker].promise,
    gap: () => Math.abs(utilisation(0) - utilisation(1))
  }

  /** One that was stopped says nothing, and does nothing. */
  function utilisation(worker: 0 | 1): number {
    const { at, elu } = said[worker]!
    return performance.now() - at < longestSilence ? elu : 0
  }
}

/** Of the window that ends now. */
function figures({ traffics }: Cast, gap: number): Figures {
  const from = performance.now() - window
  const took = traffics.flatMap(traffic => answersFrom(traffic, from))
  return { rate: (took.length / window) * 1_000, p99: quantile(took, 0.99), gap }
}

/** In seconds: the first of two looks in which the load was even. */
function evenAfter(gaps: readonly number[]): number | undefined {
  const index = gaps.findIndex((gap, index) => gap < evenGap && gaps[index + 1]! < evenGap)
  return index === -1 ? undefined : ((index + 1) * lookInterval) / 1_000
}

function printRuns(runs: Record<Setting, readonly Run[]>): void {
  printTable(
    [
      '--balance',
      'gap before',
      'after',
      'even after, s',
      'requests/s before',
      'after',
      'p99 before, ms',
      'after',
      'connections',
      'moved',
      'closed',
      'failures',
      'others'
    ],
    settings.map(setting => {
      const taken = runs[setting]
      const { status } = taken.at(-1)!
      return [
        setting,
        ...both(taken, 'gap', value => value.toFixed(2)),
        taken.map(({ even }) => even?.toFixed(1) ?? 'never').join(', '),
        ...both(taken, 'rate', value => value.toFixed(0)),
        ...both(taken, 'p99', milliseconds),
        connectionsOf(status),
        String(status.balance?.moved ?? '-'),
        String(status.balance?.closed ?? '-'),
        String(sum(taken.map(({ failures }) => failures))),
        percent(sum(taken.map(({ busy }) => busy.others)) / taken.length)
      ]
    })
  )
}

function both(runs: readonly Run[], what: keyof Figures, show: (value: number) => string): string[] {
  return (['before', 'after'] as const).map(when => show(median(runs.map(run => run[when][what]))))
}

/** Of each worker, at the end of the last run. */
function connectionsOf({ generations: [serving] }: Status): string {
  const counts = serving?.workers?.map(({ connections }) => sum(Object.values(connections ?? {})))
  return counts?.join('/') ?? '-'
}

/** The ratios of each round, and what more this machine has for a second worker. */
function printRatios({ target }: Scene, runs: Record<Setting, readonly Run[]>): void {
  const ratio = (what: 'rate' | 'p99') =>
    median(runs.true.map(({ after }, round) => after[what] / runs.false[round]!.after[what]))
  const rate = ratio('rate')
  const isMet = target === undefined || rate >= target
  console.log(
    `   requests/s with balance: ${target === undefined ? `${rate.toFixed(2)} times` : judged(rate, 'at least', target)} those without; p99: ${ratio('p99').toFixed(2)} times`
  )
  if (isMet) return console.log()
  const room = median(runs.false.map(({ busy }) => roomFor(busy)))
  console.log(`   Without balance this machine had idle cores for at most ${room.toFixed(2)} times as many.
`)
}

/** How many times what the server takes it could take: until no core is idle, and each worker has one at the most. */
function roomFor({ own, others, server }: Busy): number {
  const cores = availableParallelism()
  const idle = Math.max(1 - own - others, 0) * cores
  const taken = server / window
  return Math.min((taken + idle) / taken, 2)
}
