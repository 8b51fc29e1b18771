/** A load that sticks to one worker, as its connections do, is evened out by moving them. */
import t, { type Test } from 'tap'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { startServer } from '../helper/server.ts'

/** One worker with all connections: some on which requests come without a pause, and some on which none come. */
async function startOneSided(t: Test, options: readonly string[], release: object = {}) {
  const server = startServer(t, {
    release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: 'all', ...release } },
    supervised: ['--workers', '1', ...options]
  })
  const port = await server.port()
  const [busy, dormant] = [6, 30].map(count =>
    Array.from({ length: count }, () => new Client({ host: '127.0.0.1', port }))
  ) as [Client[], Client[]]
  const workers = new Map<Client, number>()
  const failures: unknown[] = []
  let isOver = false
  t.teardown(() => {
    isOver = true
    for (const client of [...busy, ...dormant]) client.close()
  })
  for (const client of dormant) await client.get('/')
  const running = busy.map(run)
  t.equal((await graceful(['scale', String(server.pid), '2'])).code, 0)
  return { server, busy, dormant, workers, failures, untilBoth, stop }

  async function run(client: Client): Promise<void> {
    while (!isOver) {
      try {
        workers.set(client, JSON.parse(String((await client.get('/burn?ms=4')).body)).worker)
      } catch (error) {
        if (!isOver) failures.push(error)
        return
      }
    }
  }

  /** Each worker has some of the busy connections. */
  async function untilBoth(): Promise<void> {
    while (new Set(workers.values()).size < 2) await new Promise(setImmediate)
  }

  async function stop(): Promise<void> {
    isOver = true
    await Promise.all(running)
  }
}

t.test('busy connections move to the worker that has nothing to do, open; dormant ones stay', async t => {
  const { server, busy, dormant, workers, failures, untilBoth, stop } = await startOneSided(t, [])
  const { worker, how, wanted, gone } = await server.line('connections shared')
  t.match({ worker, how }, { worker: 0, how: 'move' })
  t.ok(gone > 0 && gone <= wanted && wanted < busy.length, `${gone} of ${wanted}`)
  await untilBoth()
  await stop()
  t.same(failures, [])
  t.ok(workers.size === busy.length)
  for (const client of [...busy, ...dormant]) t.equal(client.opened, 1, 'nobody had to connect again')
  const { balance, generations } = await statusOf(server.pid)
  t.ok(balance!.moved >= gone)
  const [first, second] = generations[0]!.workers!.map(({ connections }) => connections!.idle)
  t.equal(first! + second!, busy.length + dormant.length)
  t.ok(second! < busy.length, 'what moved is of those that were busy')
  for (const client of dormant) t.equal(JSON.parse(String((await client.get('/')).body)).worker, 0)
})

t.test('without balance, and where connections are not handed over, all stays as it is', async t => {
  const setUps = await Promise.all([
    startOneSided(t, ['--balance', 'false']),
    startOneSided(t, ['--handover', 'false'])
  ])
  await new Promise(resolve => setTimeout(resolve, 3_000)) // an order comes within two
  for (const { server, workers, failures, stop } of setUps) {
    await stop()
    t.same(failures, [])
    t.same(new Set(workers.values()), new Set([0]))
    t.same((await statusOf(server.pid)).balance, { moved: 0, closed: 0 })
  }
})
