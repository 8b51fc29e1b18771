import { setTimeout as sleep } from 'node:timers/promises'
import { type Contender, type Running, withServer } from './contender.ts'
import { printTable, sum } from './table.ts'
import { describeLoad, drive, type Load } from './traffic.ts'

/** Together they take whatever the machine has. */
const loads: readonly Load[] = [
  { clients: 30, pause: 0 },
  { clients: 100, pause: 20 }
]
const warmUp = 1_000 // milliseconds
const settling = 750 // for what the last upgrade has left

interface Tally {
  answers: number
  seconds: number
  upgrades: number
  readonly failures: Record<string, number>
  /** Of each load. */
  readonly reconnects: number[]
}

export interface FailureOptions {
  readonly section: number
  readonly target: string
  readonly rounds: number
  /** In each round. */
  readonly upgrades: number
  /** From one upgrade to the next, in milliseconds; longer where one takes longer. */
  readonly interval: number
}

/** Counts what goes wrong for clients, and which connections they lose, while every core is busy. */
export async function showFailures(contenders: readonly Contender[], options: FailureOptions): Promise<void> {
  const { section, target, rounds, upgrades, interval } = options
  const tallies = contenders.map(
    (): Tally => ({ answers: 0, seconds: 0, upgrades: 0, failures: {}, reconnects: loads.map(() => 0) })
  )
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      await withServer(contender, server => count(server, options, tallies[index]!))
    }
  }
  console.log(`${section}. Failures and reconnects on a saturated machine: ${loads.map(describeLoad).join(', and ')};
   ${rounds * upgrades} upgrades of each contender, one every ${interval / 1_000} s.
   ${target}
`)
  printTable(
    [
      '',
      'requests/s',
      'failures',
      'per upgrade',
      'reconnects:',
      ...loads.map(({ clients }) => `of ${clients}`),
      'per upgrade',
      'failures by kind'
    ],
    contenders.map(({ name }, index) => row(name, tallies[index]!))
  )
}

/** Else the first of all contenders would meet clients whose code is not compiled yet. */
export function warmUpClients(contender: Contender): Promise<void> {
  return withServer(contender, async ({ port }) => {
    const traffic = drive(port, loads[0]!)
    await sleep(2 * warmUp)
    await traffic.stop()
  })
}

async function count(server: Running, { upgrades, interval }: FailureOptions, tally: Tally): Promise<void> {
  const start = performance.now()
  const traffics = loads.map(load => drive(server.port, load))
  await sleep(warmUp)
  for (let upgrade = 0; upgrade < upgrades; upgrade++) await Promise.all([server.upgrade(), sleep(interval)])
  await sleep(settling)
  tally.seconds += (performance.now() - start) / 1_000
  tally.upgrades += upgrades
  await Promise.all(traffics.map(traffic => traffic.stop()))
  for (const [index, traffic] of traffics.entries()) {
    tally.answers += traffic.took.length
    tally.reconnects[index]! += traffic.reconnects()
    for (const [kind, times] of Object.entries(traffic.failures)) {
      tally.failures[kind] = (tally.failures[kind] ?? 0) + times
    }
  }
}

function row(name: string, { answers, seconds, upgrades, failures, reconnects }: Tally): string[] {
  const failed = sum(Object.values(failures))
  const kinds = Object.entries(failures).map(([kind, times]) => `${kind} ${times}`)
  return [
    name,
    (answers / seconds).toFixed(0),
    String(failed),
    (failed / upgrades).toFixed(1),
    '',
    ...reconnects.map(String),
    (sum(reconnects) / upgrades).toFixed(1),
    kinds.join(', ') || '-'
  ]
}
