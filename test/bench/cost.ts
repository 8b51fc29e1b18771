import { setTimeout as sleep } from 'node:timers/promises'
import { type Contender, type Running, withServer } from './contender.ts'
import { median } from './harness.ts'
import { busyDuring } from './processor.ts'
import { judged, percent, printTable, sum } from './table.ts'
import { answersFrom, describeLoad, drive, type Load } from './traffic.ts'

interface CostLoad extends Load {
  readonly name: string
  /** So many answers first: each worker has code to compile, and several have fewer requests each to do so. */
  readonly warmUp: number
}

const loads: readonly CostLoad[] = [
  { name: 'Keep-alive', clients: 60, pause: 0, warmUp: 30_000 },
  { name: 'A connection per request', clients: 60, pause: 0, isFresh: true, warmUp: 10_000 }
]
/** Of those answers, in milliseconds. */
const longestWarmUp = 6_000

interface Sample {
  /** Requests per second. */
  readonly rate: number
  /** CPU time of all processes of the server, in microseconds per request. */
  readonly cpu: number
  /** Share of the machine that went elsewhere. */
  readonly others: number
  readonly failures: number
}

export interface CostOptions {
  readonly section: number
  readonly rounds: number
  /** Of each load, in milliseconds. */
  readonly length: number
  /** Whom all are compared to. */
  readonly one: Contender
  readonly roundRobin: Contender
  /** The targets are for these. */
  readonly teams: readonly Contender[]
}

/** What a request costs the server, and how many it answers, while clients and servers take the whole machine. */
export async function showCost(contenders: readonly Contender[], options: CostOptions): Promise<void> {
  const { section, rounds, length } = options
  const samples = loads.map(() => new Map(contenders.map((each): [Contender, Sample[]] => [each, []])))
  for (let round = 0; round < rounds; round++) {
    for (const contender of contenders) {
      await withServer(contender, async server => {
        for (const [index, load] of loads.entries()) {
          samples[index]!.get(contender)!.push(await measure(server, load, length))
        }
      })
    }
  }
  console.log(`${section}. Requests per second, and CPU time of all processes of the server for each of them, master or primary included:
   medians of ${rounds} rounds of ${length / 1_000} s; ratios are the medians of those of each round.
`)
  for (const [index, load] of loads.entries()) {
    console.log(`   ${load.name}: ${describeLoad(load)}`)
    show(samples[index]!, options)
    showTargets(samples[index]!, options, load)
  }
}

async function measure({ port, group }: Running, load: CostLoad, length: number): Promise<Sample> {
  const traffic = drive(port, load)
  const limit = performance.now() + longestWarmUp
  while (traffic.took.length < load.warmUp && performance.now() < limit) await sleep(100)
  const from = performance.now()
  const { server, others } = await busyDuring(group, () => sleep(length))
  const to = performance.now()
  await traffic.stop()
  const answers = answersFrom(traffic, from, to).length
  return {
    rate: (answers / (to - from)) * 1_000,
    cpu: (server / answers) * 1_000,
    others,
    failures: sum(Object.values(traffic.failures))
  }
}

type Samples = ReadonlyMap<Contender, readonly Sample[]>

function show(samples: Samples, { one, roundRobin }: CostOptions): void {
  printTable(
    ['', 'requests/s', 'of one', 'CPU µs/request', 'of one', 'of round robin', 'failures', 'others'],
    [...samples].map(([contender, taken]) => [
      contender.name,
      median(taken.map(({ rate }) => rate)).toFixed(0),
      ratio(samples, 'rate', contender, one).toFixed(2),
      median(taken.map(({ cpu }) => cpu)).toFixed(0),
      ratio(samples, 'cpu', contender, one).toFixed(2),
      ratio(samples, 'cpu', contender, roundRobin).toFixed(2),
      String(sum(taken.map(({ failures }) => failures))),
      percent(sum(taken.map(({ others }) => others)) / taken.length)
    ])
  )
}

function showTargets(samples: Samples, { one, roundRobin, teams }: CostOptions, { isFresh }: Load): void {
  for (const team of teams) {
    const toOne = ratio(samples, 'cpu', team, one)
    console.log(`   ${team.name}: ${judged(toOne, 'at most', 1.3)} the CPU of one process`)
    if (!isFresh) continue
    const toRoundRobin = ratio(samples, 'cpu', team, roundRobin)
    console.log(`   ${team.name}: ${judged(toRoundRobin, 'less than', 0.5)} the CPU of round robin`)
  }
  console.log()
}

function ratio(samples: Samples, what: 'rate' | 'cpu', of: Contender, to: Contender): number {
  return median(samples.get(of)!.map((sample, round) => sample[what] / samples.get(to)![round]![what]))
}
