/** A new version that starts, and finds that it can't serve: it asks itself before anybody else does. */
import t from 'tap'
import { graceful, statusOf } from '../helper/graceful.ts'
import { startLoad } from '../helper/load.ts'
import { missing } from '../helper/program.ts'
import { startServer } from '../helper/server.ts'
import { startServiceManager } from '../helper/service-manager.ts'
import { ask } from '../helper/supervised.ts'

t.jobs = 3 // they wait most of the time, until readyTimeout

const listen = [{ port: 0, host: '127.0.0.1' }]

t.test('two workers that are checked, by a flag', async t => {
  const args = ['--check', '/health', '--check-timeout=3000', '--ready-timeout', '15000']
  const supervised = ['--workers', '2', ...args]
  const server = startServer(t, { supervised, release: { listen, healths: { 0: 'down' } } })
  const { bound } = await server.line('listening on')
  const { port } = bound.at(-1)

  await t.test('the first start is not ready before it has passed, though it answers', async t => {
    t.match(await server.line('check failed'), {
      level: 40,
      generation: 1,
      request: 'GET /health',
      outcome: 'answered 503',
      body: 'no database\nsince noon'
    })
    t.match(await ask(port), { generation: 1, worker: 0 })
    t.equal((await statusOf(server.pid)).state, 'starting')
    t.notOk(server.lines.some(({ msg }) => msg === 'serves alone'))
    server.deploy({ listen })
    await server.line('check passed')
    await server.line('generation ready')
  })

  const address = { host: '127.0.0.1', port }
  const clients = [false, true].map(fresh => startLoad(t, address, { clients: 3, pause: [0, 20], fresh }))

  await t.test('a worker that fails for ever: reload says which, and what it answered', async t => {
    server.deploy({ listen, healths: { 1: 'down' } })
    const { code, stdout, stderr } = await graceful(['reload', String(server.pid)])
    t.equal(code, 1)
    t.match(
      stdout,
      /worker 0 .* ready after .*\nworker 1 of generation 2 is not ready: GET \/health answered 503\n$/
    )
    t.match(
      stderr,
      /does not pass its check: worker 1 of generation 2 \(pid \d+\) was given readyTimeout \(15000 ms\), and GET \/health answered 503: no database\nsince noon \(GRACEFUL_UPGRADE_CHECK_FAILED\)\n/
    )
    t.match(await server.line('upgrade failed'), {
      err: { code: 'GRACEFUL_UPGRADE_CHECK_FAILED' },
      generation: 2
    })
    const { state, upgrades } = await statusOf(server.pid)
    t.match([state, upgrades[0]], ['serving', { generation: 2, result: 'GRACEFUL_UPGRADE_CHECK_FAILED' }])
  })

  await t.test('one that never answers', async t => {
    server.deploy({ listen, health: 'hangs' })
    server.kill('SIGHUP')
    const { err } = await server.line('upgrade failed')
    t.equal(err.code, 'GRACEFUL_UPGRADE_CHECK_FAILED')
    t.match(err.message, /worker 0 of .* GET \/health was not answered within checkTimeout \(3000 ms\)$/)
  })

  await t.test('one that fails at first, and then passes, takes over', async t => {
    server.deploy({ listen, healths: { 1: 'down' } })
    server.kill('SIGHUP')
    await server.line('check failed', ({ generation }) => generation === 4)
    t.equal(await ask(port).then(({ generation }) => generation), 1)
    server.deploy({ listen })
    t.match(await server.line('generation ready'), { generation: 4 })
    await server.line('generation retired')
    for (const client of clients) {
      await client.answered(4)
      const { failures, generations } = await client.stop()
      t.same(failures, {}, 'no client has noticed any of it')
      t.same(Object.keys(generations), ['1', '4'], 'and none was answered by what had not passed')
    }
  })
})

t.test('a first start that stands still in its check ends the master', async t => {
  const release = { listen, options: { check: { url: '/health', statusCode: 200 } }, health: 'blocks' }
  const server = startServer(t, { supervised: ['--ready-timeout', '15000'], release })
  t.match(await server.line('start failed'), {
    err: {
      code: 'GRACEFUL_UPGRADE_CHECK_FAILED',
      message: /generation 1 .* GET \/health has not been answered yet$/
    }
  })
  t.same(await server.exit(), { code: 1, signal: null })
})

t.test('a standalone server, by the environment', { skip: missing('python3', 'systemd-notify') }, async t => {
  const { address, message } = await startServiceManager(t)
  const env = { GRACEFUL_UPGRADE_CHECK: '/health, /state', NOTIFY_SOCKET: address }
  const server = startServer(t, { env, release: { listen, health: 'down' } })
  const port = await server.port()
  t.match(await server.line('check failed'), { level: 50, outcome: 'answered 503' })
  t.match(await ask(port), { generation: 1 }, 'it serves, as nobody would take its place')
  server.deploy({ listen })
  await server.line('check passed')
  t.match(await message(), [/^READY=1\nSTATUS=generation 1 serves/], 'the first that systemd hears')

  server.deploy({ listen, health: 'down' })
  server.kill('SIGHUP')
  t.match(await server.line('check failed'), { level: 40, generation: 2 })
  t.match(await ask(port), { generation: 1 })
  server.deploy({ listen })
  t.match(await server.line('generation ready'), { generation: 2 })
  t.match(await ask(port), { generation: 2 })
})

for (const [name, value] of [
  ['GRACEFUL_UPGRADE_CHECK', 'health'],
  ['GRACEFUL_UPGRADE_CHECK_TIMEOUT', '0']
] as const) {
  t.test(`${name}=${value} is an error that says what may be`, async t => {
    const server = startServer(t, { supervised: [], env: { [name]: value } })
    t.same(await server.exit(), { code: 1, signal: null })
    t.match(await server.saying(/INVALID_OPTION/), /check\w* must be a (path such as '\/health'|number)/)
  })
}
