/** Several workers in one generation, under load: upgraded, recycled one by one, killed one by one. */
import t, { type Test } from 'tap'
import { statusOf } from '../helper/graceful.ts'
import { type LoadOptions, startLoad } from '../helper/load.ts'
import { type Server, startServer } from '../helper/server.ts'

const upgrades = Number(process.env.WORKERS_UPGRADES ?? 2)

/** On a machine that others use, too, 400 busy connections have taken more than half a minute to go. */
const drainTimeout = 300_000

type Population = Omit<LoadOptions, 'done'> & { readonly title: string }

/** More than two cores answer. */
const flood: readonly Population[] = [
  { title: '30 clients without a pause', clients: 30 },
  { title: '30 clients with a connection for each request', clients: 30, fresh: true },
  { title: '30 clients with pauses of 100 to 700 ms', clients: 30, pause: [100, 700] },
  { title: '300 clients with pauses of 0 to 20 ms', clients: 300, pause: [0, 20] }
]

/** Less than that: what starts meanwhile needs the cores, too. */
const stream: readonly Population[] = [
  { title: '30 clients with pauses of 0 to 100 ms', clients: 30, pause: [0, 100] },
  {
    title: '10 clients with a connection for each request',
    clients: 10,
    fresh: true,
    pause: [0, 100]
  },
  { title: '300 clients with pauses of 0 to 600 ms', clients: 300, pause: [0, 600] }
]

async function start(t: Test, workers: number, populations: readonly Population[]) {
  const server = startServer(t, {
    release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: 'all', drainTimeout } },
    supervised: ['--workers', String(workers)]
  })
  const address = { host: '127.0.0.1', port: await server.port() }
  const loads = populations.map(({ title, ...population }) => startLoad(t, address, population))
  return { server, loads, end }

  async function end(): Promise<void> {
    // Where a saturated worker could not move connections, balance tells their clients to come again.
    const shared = server.lines.filter(({ msg, how }) => msg === 'connections shared' && how === 'close')
    const closed = shared.reduce((sum, { gone }) => sum + gone, 0)
    for (const [index, { title, clients, fresh }] of populations.entries()) {
      const result = await loads[index]!.stop()
      t.comment(title, JSON.stringify(result))
      t.same(result.failures, {}, `${title} lose none`)
      if (!fresh) t.ok(result.opened <= clients + closed, 'and keep their connections')
    }
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  }
}

for (const [workers, populations] of [
  [2, flood],
  [4, stream]
] as const) {
  t.test(`${workers} workers: no client notices an upgrade`, async t => {
    const { server, loads, end } = await start(t, workers, populations)
    for (let upgrade = 1; upgrade <= upgrades; upgrade++) {
      t.equal((await server.reload()).generation, upgrade + 1)
      await Promise.all(loads.map(load => load.answered(upgrade + 1)))
      await server.line('generation retired')
    }
    await end()
  })
}

t.test('no client notices that one worker after the other is told to end', async t => {
  const { server, end } = await start(t, 2, stream)
  for (let round = 0; round < upgrades + 1; round++) {
    const worker = await workerOf(server, round % 2)
    process.kill(worker.pid, 'SIGTERM')
    const { worker: index, generationPid, code } = await server.line('worker retired')
    t.same({ index, generationPid, code }, { index: round % 2, generationPid: worker.pid, code: 0 })
    t.not((await workerOf(server, round % 2)).pid, worker.pid)
  }
  await end()
})

async function workerOf(server: Server, index: number) {
  const { generations } = await statusOf(server.pid)
  return generations[0]!.workers!.find(({ worker, state }) => worker === index && state === 'serving')!
}
