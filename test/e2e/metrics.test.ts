/** What a service tells of itself, whichever of its processes is asked: its status, and its metrics. */
import t, { type Test } from 'tap'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { createWatch, judgeByPrometheus, scrape, valuesOf } from '../helper/metrics.ts'
import { missing } from '../helper/program.ts'
import { startServer } from '../helper/server.ts'
import { ask, half } from '../helper/supervised.ts'

const listen = [{ port: 0, host: '127.0.0.1' }]

t.test('a standalone server, over the lives of its generations', async t => {
  const server = startServer(t, { release: { listen } })
  const port = await server.port()
  const address = { host: '127.0.0.1', port }
  const watch = createWatch(() => scrape(port))

  await t.test('before its first upgrade', async t => {
    t.match(await ask(port, '/status'), {
      pid: server.pid,
      mode: 'standalone',
      state: 'serving',
      generations: [{ generation: 1, pid: server.pid, state: 'serving' }],
      upgrades: []
    })
    await watch.until(t, {
      generation: 1,
      'generations{state="serving"}': 1,
      'generations{state="draining"}': 0,
      last_upgrade_successful: 1,
      'upgrades_total{result="success"}': 0
    })
    t.ok((await watch.values()).get('last_upgrade_success_timestamp_seconds')! > 1_700_000_000)
  })

  await t.test('an upgrade: both generations, and a connection that moves', async t => {
    const idle = new Client(address)
    await idle.get('/')
    const request = half(port)
    await request.begun
    await server.reload()
    await watch.until(t, {
      generation: 2,
      'generations{state="serving"}': 1,
      'generations{state="draining"}': 1,
      'connections_moved_total{direction="forward"}': 1,
      'upgrades_total{result="success"}': 1,
      'upgrade_duration_seconds_count{phase="boot"}': 1,
      'upgrade_duration_seconds_count{phase="drain"}': 0
    })
    const values = await watch.values()
    t.ok(values.get('connections{state="active"}')! >= 2, 'the one that is asked, and the one that is slow')
    await request.finish()
    await request.answer
    await watch.until(t, {
      'generations{state="draining"}': 0,
      'upgrade_duration_seconds_count{phase="drain"}': 1
    })
    t.ok((await watch.values()).get('longest_pause_seconds')! > 0)
    idle.close()
  })

  await t.test('a worker tells what the command tells, which asks the master', async t => {
    const told = await ask(port, '/status')
    const { pid, mode, directory, state, listeners, upgrades, generations } = await statusOf(server.pid)
    t.same(
      { ...told, uptime: 0, generations: told.generations.map((each: any) => each.generation) },
      {
        ...{ pid, mode, directory, state, listeners, upgrades, uptime: 0 },
        ...{ pluginVersion: told.pluginVersion, balance: { moved: 0, closed: 0 } },
        generations: generations.map(({ generation }) => generation)
      }
    )
  })

  await t.test('an upgrade that fails, and one that is refused meanwhile', async t => {
    server.deploy({ listen, boot: 'hang', options: {} })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned', ({ generation }) => generation === 3)
    await watch.until(t, { 'generations{state="booting"}': 1, last_upgrade_successful: 1 })
    server.kill('SIGHUP')
    await server.line('upgrade refused')
    process.kill(pid, 'SIGKILL')
    await server.line('upgrade failed')
    await watch.until(t, {
      generation: 2,
      'upgrades_total{result="refused"}': 1,
      'upgrades_total{result="failed"}': 1,
      last_upgrade_successful: 0
    })
  })

  await t.test('a worker that is killed: what was counted is not lost with it', async t => {
    server.deploy({ listen })
    const { pid } = await ask(port)
    process.kill(pid, 'SIGKILL')
    await server.line('generation ready', ({ generation }) => generation === 4)
    await watch.until(t, {
      generation: 4,
      'worker_restarts_total{reason="died"}': 1,
      'connections_moved_total{direction="forward"}': 1,
      'upgrades_total{result="success"}': 1
    })
  })

  await t.test('a master that is lost: the worker begins at 0, and knows which generation it is', async t => {
    const { pid } = await ask(port)
    process.kill(server.pid, 'SIGKILL')
    await server.line(/^master lost/)
    const values = valuesOf(await scrape(port))
    t.equal(values.get('generation'), 4)
    t.equal(values.get('upgrades_total{result="success"}'), 0)
    t.match(await ask(port, '/status'), { pid, mode: 'standalone', state: 'serving' })
  })
})

t.test('two workers: whichever is asked, it tells of both', async t => {
  const server = startServer(t, { supervised: ['--workers', '2', '--balance', 'false'], release: { listen } })
  const port = await server.port()
  const clients = [await connect(0), await connect(1)]
  const asked = (worker: 0 | 1) => async () => (await clients[worker]!.get('/metrics')).body.toString()
  const watches = [createWatch(asked(0)), createWatch(asked(1))]
  const until = (t: Test, values: Record<string, number>) =>
    Promise.all(watches.map(watch => watch.until(t, values)))

  /** A connection that this worker has. */
  async function connect(index: number): Promise<Client> {
    for (;;) {
      const client = new Client({ host: '127.0.0.1', port })
      t.teardown(() => client.close())
      if (JSON.parse((await client.get('/')).body.toString()).worker === index) return client
      client.close()
    }
  }

  await t.test('an upgrade', async t => {
    await until(t, { generation: 1, 'generations{state="serving"}': 1 })
    for (const client of clients) {
      const { pid, generations } = JSON.parse((await client.get('/status')).body.toString())
      t.equal(pid, server.pid)
      t.equal(generations[0].workers.length, 2)
    }
    await server.reload()
    await server.line('generation retired')
    await until(t, { generation: 2, 'upgrades_total{result="success"}': 1 })
  })

  await t.test('a worker that is killed, and one that is asked to end', async t => {
    const workers = async () => (await statusOf(server.pid)).generations[0]!.workers!
    const [first] = await workers()
    process.kill(first!.pid, 'SIGKILL')
    await server.line('worker died')
    await server.line('worker ready', ({ generation, worker }) => generation === 2 && worker === 0)
    for (const index of [0, 1]) clients[index] = await connect(index)
    await until(t, { 'worker_restarts_total{reason="died"}': 1, 'upgrades_total{result="success"}': 1 })
    const [, second] = await workers()
    process.kill(second!.pid, 'SIGTERM')
    await server.line('worker retired')
    await until(t, { 'worker_restarts_total{reason="signal"}': 1, 'worker_restarts_total{reason="died"}': 1 })
    t.ok((await watches[0]!.values()).get('connections_moved_total{direction="sideways"}')! >= 1)
  })

  await t.test('the command prints the same', async t => {
    const { code, stdout, stderr } = await graceful(['metrics', String(server.pid)])
    t.same([code, stderr], [0, ''])
    t.match(stdout, /\n# EOF\n$/)
    const printed = valuesOf(stdout)
    const names = [...(await watches[0]!.values()).keys()]
    t.same([...printed.keys()], names)
    for (const name of names.filter(name => name.includes('_total'))) {
      t.equal(printed.get(name), (await watches[1]!.values()).get(name), name)
    }
  })

  await t.test('Prometheus has nothing to say against it', { skip: missing('promtool') }, async t => {
    const { parsed, linted } = await judgeByPrometheus(t, await scrape(port))
    t.match(parsed, /^0: BLOCK ULID/)
    t.equal(linted, '0: ')
  })
})

t.test('the example joins them with those of prom-client', async t => {
  const server = startServer(t, { fixture: '../../example/metrics.mjs', env: { PORT: '0' } })
  const { msg } = await server.line(/^Server listening at/)
  const text = await scrape(Number(msg.split(':').at(-1)))
  t.match(text, /^process_cpu_seconds_total\{worker="0"\} /m)
  t.equal(valuesOf(text).get('generation'), 1)
  t.equal(text.match(/# EOF/g)?.length, 1)
  t.match(text, /\n# EOF\n$/)
  if (missing('promtool')) return
  t.match((await judgeByPrometheus(t, text)).parsed, /^0: BLOCK ULID/)
})
