/** What signals do to a server that is its own master; `supervised-signals.test.ts` has the other kind. */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { fixtures, startServer } from '../helper/server.ts'
import { ends, half, inFlight } from '../helper/supervised.ts'
import { noTerminal, startInTerminal } from '../helper/terminal.ts'

/** A server after so many upgrades, with a request in flight. */
async function start(t: Test, { upgrades = 0, ms = 'drain' as number | 'drain' }) {
  const server = startServer(t)
  const port = await server.port()
  for (let upgrade = 0; upgrade < upgrades; upgrade++) {
    await server.reload()
    await server.line('generation retired')
  }
  const request = inFlight(port, ms)
  await request.begun
  return { server, port, request }
}

t.test('in the first generation SIGTERM drains, runs onClose and ends with code 0', async t => {
  const { server, request } = await start(t, {})
  server.kill('SIGTERM')
  t.match(await request.answer, { status: 200, headers: { connection: 'close' } })
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(server.lines.filter(({ msg }) => msg === 'onClose hook').length, 1)
})

t.test('in the first generation SIGINT does so, and counts once where npm passes it on besides', async t => {
  const { server, request } = await start(t, {})
  server.kill('SIGINT')
  await sleep(10)
  server.kill('SIGINT')
  t.match(await request.answer, { status: 200, headers: { connection: 'close' } })
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(server.lines.filter(({ msg }) => msg === 'onClose hook').length, 1)
})

for (const [signal, to] of [
  ['SIGTERM', 'the master'],
  ['SIGINT', 'the whole group, as from Ctrl-C or systemd,']
] as const) {
  t.test(`with a worker ${signal} to ${to} counts once, runs onClose and ends with code 0`, async t => {
    const { server, request } = await start(t, { upgrades: 1 })
    process.kill(to === 'the master' ? server.pid : -server.pid, signal)
    t.match(await request.answer, { status: 200, headers: { connection: 'close' } })
    t.same(await server.exit(), { code: 0, signal: null })
    t.equal(server.lines.filter(({ msg }) => msg === 'onClose hook').length, 2)
  })
}

t.test('a second signal ends everything at once with code 1', async t => {
  const { server, request } = await start(t, { ms: 25_000 })
  server.kill('SIGTERM')
  await server.line('signal aborted', ({ reason }) => reason === 'close')
  await sleep(400) // earlier than 200 ms it would be the same one, passed on by somebody
  server.kill('SIGTERM')
  t.match(await server.line('second signal, ending at once'), { signal: 'SIGTERM' })
  t.same(await server.exit(), { code: 1, signal: null })
  t.match(await request.failure, /eof|reset/)
})

for (const upgrades of [0, 1]) {
  const where = upgrades === 0 ? 'in the first generation' : 'with a worker'

  t.test(`${where} an uncaught error is logged and drains the process that threw`, async t => {
    const { server, port, request } = await start(t, { upgrades })
    await new Client({ host: '127.0.0.1', port }).post('/throw', '', { Connection: 'close' })
    t.match(await server.line('uncaught error, closing'), { err: { message: 'uncaught on purpose' } })
    t.match(await request.answer, { status: 200 })
    if (upgrades === 0) {
      t.same(await server.exit(), { code: 1, signal: null })
    } else {
      t.match(await server.line('generation died'), { generation: upgrades + 1, code: 1 })
      t.match(await server.line('generation ready', line => line.generation === upgrades + 2), {})
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null })
    }
  })
}

for (const when of ['EARLY', 'LATE']) {
  t.test(
    `close-with-grace of the application (${when}) makes no shutdown of a reload, and a warning says so`,
    async t => {
      const server = startServer(t, { fixture: 'own-signals.js', env: { [when]: '1' } })
      const address = { host: '127.0.0.1', port: await server.port() }
      t.match(await server.line(/another listener on SIGHUP/), { level: 40, msg: /skip: \['SIGHUP'\]/ })
      for (const generation of [2, 3]) {
        t.match(await server.reload(), { generation })
        await server.line('generation retired')
        t.match(JSON.parse((await new Client(address).get('/', { Connection: 'close' })).body.toString()), {
          generation
        })
      }
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null })
      t.equal(
        server.lines.filter(({ msg }) => msg === 'close-with-grace of the application').length,
        2,
        'in the worker that made way, and in the one that was there'
      )
    }
  )
}

t.test("the application's own listener hears of SIGTERM in a worker too, once", async t => {
  const server = startServer(t, { fixture: 'own-signals.js', env: { OWN: '1' } })
  await server.port()
  await server.reload()
  await server.line('generation retired')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(server.lines.filter(({ msg }) => msg === 'own listener').length, 1)
})

t.test(
  'closeSignals: false leaves signals to the application, whose exit code is the one of the master',
  async t => {
    const env = { OWN: 'exit', OPTIONS: JSON.stringify({ closeSignals: false }) }
    for (const upgrades of [0, 1]) {
      const server = startServer(t, { fixture: 'own-signals.js', env })
      await server.port()
      for (let upgrade = 0; upgrade < upgrades; upgrade++) {
        await server.reload()
        await server.line('generation retired')
      }
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 7, signal: null }, `after ${upgrades} upgrades`)
      await server.line('own listener')
    }
  }
)

t.test('closeSignals: false without a listener is the default action', async t => {
  const env = { OPTIONS: JSON.stringify({ closeSignals: false }) }
  const server = startServer(t, { fixture: 'own-signals.js', env })
  await server.port()
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: null, signal: 'SIGTERM' })
})

t.test('another reloadSignal, and none', async t => {
  const other = startServer(t, { release: { options: { reloadSignal: 'SIGUSR2' } } })
  await other.port()
  for (const generation of [2, 3]) {
    other.kill('SIGUSR2')
    t.match(await other.line('generation ready'), { generation })
    await other.line('generation retired')
  }
  const none = startServer(t, { release: { options: { reloadSignal: false } } })
  await none.port()
  none.kill('SIGHUP')
  t.same(await none.exit(), { code: null, signal: 'SIGHUP' })
})

t.test('a signal while an upgrade is under way ends both generations', async t => {
  const server = startServer(t)
  await server.port()
  server.deploy({ boot: 'hang' })
  server.kill('SIGHUP')
  const { pid } = await server.line('generation spawned')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  await ends(pid)
})

t.test('SIGHUP while the application closes itself starts nothing', async t => {
  const server = startServer(t, {})
  const port = await server.port()
  const request = half(port)
  await request.begun
  await new Client({ host: '127.0.0.1', port }).post('/close', '', { Connection: 'close' })
  await server.line('signal aborted')
  server.kill('SIGHUP')
  t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_NOT_SERVING' } })
  await request.finish()
  t.equal(await request.failure, 'none')
  t.match(await server.exit(), { signal: null })
  t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 0)
})

t.test('a worker that has closed its instances still hears of the end', async t => {
  const server = startServer(t, { release: { stayAlive: true } })
  const address = { host: '127.0.0.1', port: await server.port() }
  server.deploy({ stayAlive: true })
  await server.reload()
  await server.line('generation retired')
  await new Client(address).post('/close', '', { Connection: 'close' })
  await server.line('onClose hook', ({ pid }) => pid !== server.pid)
  await sleep(100) // it is closed a little later
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test(
  'app.close() and a signal in the same drain end, with a request on the second server for localhost',
  async t => {
    const server = startServer(t, {
      release: { dualLocalhost: true, listen: [{ port: 0, host: 'localhost' }] }
    })
    const { bound } = await server.line('listening on')
    const request = half(bound[0].port, '::1')
    await request.begun
    await new Client({ host: '127.0.0.1', port: bound[0].port }).post('/close', '', { Connection: 'close' })
    await server.line('signal aborted')
    server.kill('SIGTERM')
    await request.finish()
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
  }
)

t.test('closing the terminal ends the server instead of upgrading it', { skip: noTerminal }, async t => {
  const terminal = await startInTerminal(t, [process.execPath, path.join(fixtures, 'server.js')])
  await terminal.line('listening on')
  // With which code is Node's affair: some versions abort at the very end where the terminal is gone.
  t.match(await terminal.end('close'), /^ended/)
  const messages = terminal.said().map(({ msg }) => msg)
  t.ok(messages.includes('onClose hook'))
  t.notOk(messages.includes('generation spawned'))
})
