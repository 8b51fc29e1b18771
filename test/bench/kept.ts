/**
 * What it takes to move open WebSockets to the next version, next to closing them with 1012 and letting them come again.
 * Both take turns for each kind of compression, each with a new server.
 *
 * It takes some two minutes; with QUICK=1 half of one. CONNECTIONS=5000 of the environment is how many WebSockets there are.
 */
import { availableParallelism } from 'node:os'
import { type Contender, supervised, withServer } from './contender.ts'
import { giveUpAfter, loadAverage, requireDescriptors, setting } from './harness.ts'
import { type Busy, busyDuring } from './processor.ts'
import { milliseconds, percent, printTable } from './table.ts'
import { askMemory, gather, type Kind, kinds } from './web-sockets.ts'

const connections = setting('CONNECTIONS', process.env.QUICK === '1' ? 500 : 5_000)
const longestRun = 600_000

interface Run {
  /** From the moment in which the next version is ready until all are there, in milliseconds. */
  readonly time: number
  /** Longest time in which nobody read one, or it was not there, in milliseconds. */
  readonly pause: number
  readonly handshakes: number
  readonly busy: Busy
  /** CPU time of this process, in milliseconds. */
  readonly client: number
  /** Resident memory of the server for one of them, in bytes: in the first version, and in the next. */
  readonly memory: readonly [number, number]
}

requireDescriptors(connections + 200)
giveUpAfter(longestRun)
const start = performance.now()
console.log(`${connections} open WebSockets over one upgrade: Node.js ${process.version}, ${availableParallelism()} cores, load average ${loadAverage()}.
Each has said 40 kB, says the same again behind the upgrade, and is answered by a few bytes. Kept ones go on; the others are told
1012, over a second (spreadTime), and come again at once. Others: share of the machine that whatever else runs here took.
`)
for (const kind of Object.keys(kinds) as Kind[]) {
  const kept = await play(kind, true)
  const told = await play(kind, false)
  show(kind, kept, told)
}
console.log(`${((performance.now() - start) / 1_000).toFixed(0)} s in all, load average ${loadAverage()} at the end.

What this can't show: a network and TLS, where a handshake takes some round trips and most of its CPU time; what an
application does for each of its handlers (who is it, what has it missed), once for each that is kept, and once for each that
comes again, besides what its clients do then; clients that wait for some seconds before they come again, as most do. Both
generations and all clients share the same few noisy cores, the boot of the new one included, which is the same for both.`)
process.exit()

function contender(kind: Kind, isKept: boolean): Contender {
  return { ...supervised([], 'kept-server.js', { KIND: kind, KEEP: isKept ? '1' : '0' }), name: kinds[kind] }
}

function play(kind: Kind, isKept: boolean): Promise<Run> {
  return withServer(contender(kind, isKept), async ({ port, group, upgrade, line }) => {
    const empty = (await askMemory(port)).rss
    const crowd = await gather(port, kind, connections)
    const before = await measure(port)
    let ready = 0
    let pause = 0
    let over = 0
    const cpu = process.cpuUsage()
    const busy = await busyDuring(group, async () => {
      await upgrade()
      ready = performance.now()
      const retired = await line('generation retired')
      await crowd.back()
      over = performance.now()
      pause = isKept ? Number(retired.longestPause) : crowd.longestAbsence()
    })
    const { user, system } = process.cpuUsage(cpu)
    await crowd.say()
    const after = await measure(port)
    crowd.close()
    return {
      time: over - ready,
      pause,
      handshakes: crowd.handshakes(),
      busy,
      client: (user + system) / 1_000,
      memory: [(before - empty) / connections, (after - empty) / connections] as const
    }
  })
}

async function measure(port: number): Promise<number> {
  const { rss, clients } = await askMemory(port)
  if (clients !== connections) throw new Error(`the server has ${clients} of ${connections} WebSockets`)
  return rss
}

function show(kind: Kind, kept: Run, told: Run): void {
  console.log(`   ${kinds[kind]}`)
  const row = (name: string, { time, pause, handshakes, busy, client, memory }: Run) => [
    name,
    milliseconds(time),
    milliseconds(pause),
    String(handshakes),
    milliseconds(busy.server),
    milliseconds(client),
    ...memory.map(bytes => `${(bytes / 1_024).toFixed(1)} KiB`),
    percent(busy.others)
  ]
  const ratio = (of: (run: Run) => number) => (of(kept) / of(told)).toFixed(2)
  printTable(
    ['', 'all there', 'pause', 'handshakes', 'server CPU', 'client CPU', 'memory', 'in the next', 'others'],
    [
      row('kept', kept),
      row('told 1012', told),
      [
        'ratio',
        ratio(({ time }) => time),
        ratio(({ pause }) => pause),
        '',
        ratio(({ busy }) => busy.server),
        ratio(({ client }) => client),
        ratio(({ memory }) => memory[0]),
        ratio(({ memory }) => memory[1]),
        ''
      ]
    ]
  )
}
