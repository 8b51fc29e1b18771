import { setTimeout as sleep } from 'node:timers/promises'
import { bootBeside, type Contender, type Running, withServer } from './contender.ts'
import { median } from './harness.ts'
import { type Busy, busyDuring } from './processor.ts'
import { milliseconds, printTable, quantile, sum } from './table.ts'
import { answersFrom, describeLoad, drive, type Load } from './traffic.ts'

const load: Load = { clients: 100, pause: 60 }
const warmUp = 1_000 // milliseconds

interface Sample {
  /** Milliseconds that answers took, in the second around upgrades, and in the same second of times without one. */
  readonly around: number[]
  readonly calm: number[]
  /** From SIGHUP until the next version listened, in milliseconds. */
  readonly boots: number[]
  readonly rates: number[]
  readonly busy: Busy[]
  readonly busyCalm: Busy[]
  failures: number
}

export interface LatencyOptions {
  readonly rounds: number
  /** In each round. */
  readonly upgrades: number
  /** From one upgrade to the next, in milliseconds; longer where one takes longer. */
  readonly interval: number
}

/** How long answers take around an upgrade, where the load leaves more than half of the machine. */
export async function showLatencies(
  contenders: readonly Contender[],
  options: LatencyOptions
): Promise<void> {
  const samples = contenders.map(
    (): Sample => ({ around: [], calm: [], boots: [], rates: [], busy: [], busyCalm: [], failures: 0 })
  )
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      await withServer(contender, server => alternate(server, options, samples[index]!))
    }
  }
  console.log(`2. Milliseconds until an answer, in the second around the moment in which the next version listens, and in
   the same second of as many turns without an upgrade: ${describeLoad(load)};
   ${options.rounds * options.upgrades} upgrades of each contender. The turns alternate, on the same server.
   CPU: share of all cores, of clients and servers; others: of whatever else runs here.
`)
  printTable(
    [
      '',
      'p50',
      'calm',
      'p99',
      'calm',
      'p99.9',
      'calm',
      'ratio',
      'longest',
      'calm',
      'ready after',
      'requests/s',
      'CPU',
      'calm',
      'others',
      'failures'
    ],
    contenders.map(({ name }, index) => row(name, samples[index]!))
  )
}

async function alternate(
  server: Running,
  { upgrades, interval }: LatencyOptions,
  sample: Sample
): Promise<void> {
  const traffic = drive(server.port, load)
  const start = performance.now()
  const middles: { readonly at: number; readonly to: number[] }[] = []
  await sleep(warmUp)
  for (let turn = 0; turn < upgrades; turn++) {
    sample.busyCalm.push(await busyDuring(server.group, () => sleep(interval)))
    middles.push({ at: performance.now() - interval / 2, to: sample.calm })
    sample.busy.push(
      await busyDuring(server.group, async () => {
        const begun = performance.now()
        const pause = sleep(interval)
        await server.upgrade()
        middles.push({ at: performance.now(), to: sample.around })
        sample.boots.push(performance.now() - begun)
        await Promise.all([pause, sleep(600)]) // the second is over, also after a long boot
      })
    )
  }
  sample.rates.push((traffic.took.length / (performance.now() - start)) * 1_000)
  await traffic.stop()
  sample.failures += sum(Object.values(traffic.failures))
  for (const [index, begun] of traffic.begun.entries()) {
    for (const { at, to } of middles) if (Math.abs(begun - at) <= 500) to.push(traffic.took[index]!)
  }
}

function row(name: string, { around, calm, boots, rates, busy, busyCalm, failures }: Sample): string[] {
  const both = (share: number) => [around, calm].map(values => milliseconds(quantile(values, share)))
  return [
    name,
    ...both(0.5),
    ...both(0.99),
    ...both(0.999),
    (quantile(around, 0.999) / quantile(calm, 0.999)).toFixed(1),
    ...both(1),
    milliseconds(median(boots)),
    median(rates).toFixed(0),
    percent(busy, 'own'),
    percent(busyCalm, 'own'),
    percent([...busy, ...busyCalm], 'others'),
    String(failures)
  ]
}

export interface PairOptions {
  readonly pairs: number
  /** In each pair, in the one of the two runs that has any. */
  readonly upgrades: number
  readonly interval: number
  /** Longest pause of a client before a request, in milliseconds. */
  readonly pause: number
}

interface Run {
  readonly p999: number
  readonly busy: Busy
}

/** What happens in each turn of a run. */
type Turns = 'upgrades' | 'boots' | 'nothing'

/**
 * Whole runs with upgrades, against others of the same length without, and against ones in which the same program boots
 * at the same times and is given nothing to do: what of the difference is the price of starting a process here.
 */
export async function showPairs(contender: Contender, options: PairOptions): Promise<void> {
  const { pairs, upgrades, interval, pause } = options
  const runs: Record<Turns, Run>[] = []
  for (let pair = 0; pair < pairs; pair++) {
    runs.push({
      upgrades: await run(contender, options, 'upgrades'),
      boots: await run(contender, options, 'boots'),
      nothing: await run(contender, options, 'nothing')
    })
  }
  const every = interval / 1_000
  console.log(`3. ${contender.name}: p99.9 in milliseconds of a whole run of ${upgrades * every} s with an upgrade every ${every} s, with a mere boot of
   the program beside it every ${every} s, and with neither: ${describeLoad({ ...load, pause })}.
`)
  const columns = [
    'pair',
    'upgrades',
    'boots',
    'neither',
    'ratio',
    'boots',
    'CPU',
    'boots',
    'neither',
    'others'
  ]
  printTable(columns, runs.map(pairRow))
  const ratio = (turns: Turns) => median(runs.map(pair => pair[turns].p999 / pair.nothing.p999)).toFixed(2)
  console.log(
    `   median ratio: ${ratio('upgrades')} (target: at most 1.5), of boots alone ${ratio('boots')}\n`
  )
}

function run(contender: Contender, options: PairOptions, turns: Turns): Promise<Run> {
  const { upgrades, interval, pause } = options
  return withServer(contender, async server => {
    const traffic = drive(server.port, { ...load, pause })
    await sleep(warmUp)
    const from = performance.now()
    const busy = await busyDuring(server.group, async () => {
      for (let turn = 0; turn < upgrades; turn++) {
        await Promise.all([
          turns === 'upgrades' && server.upgrade(),
          turns === 'boots' && bootBeside(contender, interval / 2),
          sleep(interval)
        ])
      }
    })
    await traffic.stop()
    return { p999: quantile(answersFrom(traffic, from), 0.999), busy }
  })
}

function pairRow({ upgrades, boots, nothing }: Record<Turns, Run>, pair: number): string[] {
  return [
    String(pair + 1),
    ...[upgrades, boots, nothing].map(({ p999 }) => milliseconds(p999)),
    (upgrades.p999 / nothing.p999).toFixed(2),
    (boots.p999 / nothing.p999).toFixed(2),
    ...[upgrades, boots, nothing].map(({ busy }) => percent([busy], 'own')),
    percent([upgrades.busy, boots.busy, nothing.busy], 'others')
  ]
}

function percent(samples: readonly Busy[], of: 'own' | 'others'): string {
  const share = sum(samples.map(sample => sample[of])) / samples.length
  return `${(share * 100).toFixed(0)} %`
}
