/** What the application itself does at its end, by its own listeners for signals: at a signal, and when a worker retires. */
import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { freePort } from '../helper/free-port.ts'
import { ended, startProgram } from '../helper/program.ts'
import { cli, type LogLine, type Server, type StartOptions, startServer } from '../helper/server.ts'
import { ask, inFlight } from '../helper/supervised.ts'

const root = path.resolve(import.meta.dirname, '../..')

function start(t: Test, ending: string, { env, ...options }: StartOptions = {}): Server {
  return startServer(t, { fixture: 'own-end.js', ...options, env: { ENDING: ending, ...env } })
}

function said({ lines }: Server, msg: string): LogLine[] {
  return lines.filter(line => line.msg === msg)
}

function generations(server: Server, msg: string): number[] {
  return said(server, msg).map(({ generation }) => generation)
}

function complaints({ lines }: Server): string[] {
  return lines.filter(({ level }) => level > 30).map(({ msg }) => msg)
}

/** In which order a generation has said this, which may have been written in another one. */
function order({ lines }: Server, generation: number, ...messages: string[]): string[] {
  const own = lines.filter(line => line.generation === generation && messages.includes(line.msg))
  return own.sort((one, other) => one.at - other.at).map(({ msg }) => msg)
}

for (const ending of ['once', 'callback', 'nest', 'terminus', 'grace']) {
  // The other workers are asked when they have followed one that retires.
  const modes = ending === 'callback' ? [{}, { supervised: [] }] : [{}]
  t.test(`${ending}: SIGTERM cuts nothing, and its own end is one with code 0`, t =>
    Promise.all(
      modes.map(async mode => {
        const server = start(t, ending, mode)
        const request = inFlight(await server.port(), 'drain')
        await request.begun
        server.kill('SIGTERM')
        t.match(await request.answer, { status: 200, headers: { connection: 'close' } })
        t.same(await server.exit(), { code: 0, signal: null })
        const isHeld = ending === 'grace'
        const first = order(server, 1, 'told', 'answered').at(0)
        t.equal(first, isHeld ? 'answered' : 'told', 'told at once, unless held')
        t.same(complaints(server), isHeld ? [reloadWarning] : [])
        for (const msg of ['told', 'last word', 'onClose hook']) t.equal(said(server, msg).length, 1, msg)
      })
    )
  )
}

t.test('a readiness flag turns at once, and a listener that fails cuts nothing and is logged', t =>
  Promise.all(
    [{}, { supervised: [] }].map(async mode => {
      const server = start(t, 'flag', mode)
      const request = inFlight(await server.port(), 'drain')
      await request.begun
      server.kill('SIGTERM')
      t.match(await request.answer, { status: 200, headers: { connection: 'close' } })
      t.same(await server.exit(), { code: 0, signal: null })
      t.equal(order(server, 1, 'told', 'answered').at(0), 'told')
      t.same(complaints(server), ["the application's own listener failed"])
    })
  )
)

t.test('telemetry: its last batch arrives at SIGTERM, also without a request to wait for', async t => {
  const { batches, url } = await startCollector(t)
  const server = start(t, 'telemetry', { env: { COLLECTOR: url } })
  await server.port()
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.same(batches, ['/1'])
})

const reloadWarning =
  'another listener on SIGHUP was taken off, as SIGHUP upgrades this server: ' +
  "it is close-with-grace's, so call closeWithGrace({ skip: ['SIGHUP'] }, …); or set another reloadSignal"

for (const ending of ['once', 'nest', 'terminus', 'telemetry', 'grace']) {
  t.test(`${ending}: its own end takes place in a worker that retires, and in one at SIGTERM`, async t => {
    const { batches, url } = await startCollector(t)
    const server = start(t, ending, { supervised: [], env: { COLLECTOR: url } })
    const port = await server.port()
    const old = inFlight(port, 'drain')
    await old.begun
    await server.reload()
    t.match(await old.answer, { status: 200 })
    t.match(await server.line('generation retired'), { generation: 1, code: 0, finished: 1 })
    t.same(order(server, 1, 'told', 'answered'), ['answered', 'told'], 'behind the last request')
    const request = inFlight(port, 'drain')
    await request.begun
    server.kill('SIGTERM')
    t.match(await request.answer, { status: 200, headers: { connection: 'close' } })
    t.same(await server.exit(), { code: 0, signal: null })
    const first = order(server, 2, 'told', 'answered').at(0)
    t.equal(first, ending === 'grace' ? 'answered' : 'told', 'told at once, unless held')
    for (const msg of ['told', 'last word', 'onClose hook']) t.same(generations(server, msg), [1, 2], msg)
    t.same(batches, ending === 'telemetry' ? ['/1', '/2'] : [])
    t.same(complaints(server), ending === 'grace' ? [reloadWarning, reloadWarning] : [])
  })
}

t.test('a signal raised while another instance drains cuts nothing', t =>
  Promise.all(
    ['once', 'callback', 'terminus'].map(async ending => {
      const server = start(t, ending, { env: { SECOND: '1' } })
      const first = inFlight(await server.port(), 'drain')
      const { bound } = await server.line('second listens on')
      const request = inFlight(bound[0].port, 2_500)
      await Promise.all([first.begun, request.begun])
      server.kill('SIGTERM')
      t.equal(await first.failure, 'none', ending)
      t.equal(await request.failure, 'none', ending)
      t.same(await server.exit(), { code: 0, signal: null })
      t.same(complaints(server), [])
      t.equal(said(server, 'onClose hook of the second').length, 1)
    })
  )
)

t.test('a second signal from outside ends everything at once, whoever listens', t =>
  Promise.all(
    ['once', 'nest', 'grace'].map(async ending => {
      const server = start(t, ending)
      const request = inFlight(await server.port(), 25_000)
      await request.begun
      server.kill('SIGTERM')
      await server.line('draining')
      await sleep(400) // earlier than 200 ms it would be the same one, passed on by somebody
      server.kill('SIGTERM')
      await server.line('second signal, ending at once')
      t.same(await server.exit(), { code: 1, signal: null }, ending)
      t.match(await request.failure, /eof|reset/)
    })
  )
)

t.test('close-with-grace is held back for what has left HTTP, too', async t => {
  const server = start(t, 'grace')
  const request = http.request({
    host: '127.0.0.1',
    port: await server.port(),
    method: 'CONNECT',
    path: 'a:1'
  })
  request.end()
  const [, socket] = (await once(request, 'connect')) as [unknown, net.Socket]
  const all = text(socket)
  server.kill('SIGTERM')
  t.equal(await all, 'the end')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(server.stderr(), '')
})

t.test(
  'a signal that is passed on, too, is no second one to close-with-grace of the application',
  async t => {
    const server = start(t, 'grace')
    await server.port()
    server.kill('SIGTERM')
    await server.line('told')
    server.kill('SIGTERM') // as from npm
    t.same(await server.exit(), { code: 0, signal: null })
    t.equal(said(server, 'last word').length, 1)
  }
)

t.test('with retireSignal: false they run at SIGTERM, and not on an upgrade', async t => {
  const server = start(t, 'nest', { supervised: ['--retire-signal', 'false'] })
  await server.port()
  await server.reload()
  await server.line('generation retired')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.same(generations(server, 'last word'), [2])
})

t.test(
  'closeSignals: false leaves SIGTERM to the application, which hears it on an upgrade, too',
  async t => {
    const env = { OPTIONS: JSON.stringify({ closeSignals: false }) }
    const server = start(t, 'once', { supervised: [], env })
    await server.port()
    await server.reload()
    t.match(await server.line('generation retired'), { code: 0, signal: null })
    t.match(await server.line('last word'), { generation: 1 })
  }
)

t.test('a listener that never ends has closeTimeout, and keeps nothing of the others', async t => {
  const env = { OPTIONS: JSON.stringify({ closeTimeout: 500 }) }
  const server = start(t, 'hangs', { supervised: [], env })
  await server.port()
  await server.reload()
  t.match(await server.line('generation retired'), { code: 0 })
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(said(server, 'told').length, 2)
  t.equal(said(server, 'onClose hook').length, 2)
  t.same(complaints(server), ['not waiting any longer', 'not waiting any longer'])
})

t.test('a listener that fails when a worker retires keeps nobody from hearing', async t => {
  const server = start(t, 'throws', { supervised: [] })
  await server.port()
  await server.reload()
  t.match(await server.line('generation retired'), { code: 0 })
  t.match(await server.line('told'), { generation: 1 })
  const failed = "the application's own listener failed"
  for (const message of ['thrown on purpose', 'rejected on purpose'])
    t.ok(await server.line(failed, ({ err }) => err.message === message), message)
})

for (const supervised of [undefined, []]) {
  t.test(`stop lets them run, ${supervised ? 'supervised' : 'standalone'}`, async t => {
    const server = start(t, 'nest', supervised ? { supervised } : {})
    const request = inFlight(await server.port(), 'drain')
    await request.begun
    const { code } = await ended(startProgram(t, process.execPath, [cli, 'stop', String(server.pid)]))
    t.equal(code, 0)
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.equal(said(server, 'last word').length, 1)
    t.same(complaints(server), [])
  })
}

t.test('close-with-grace ends no retired first process because of an uncaught error', async t => {
  const server = start(t, 'grace')
  const port = await server.port()
  await ask(port, '/late-error')
  await server.reload()
  t.match(await server.line('uncaught error in a retired generation'), {
    err: { message: 'late on purpose' }
  })
  t.match(await server.reload(), { generation: 3 }, 'and upgrades')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

for (const supervised of [false, true]) {
  t.test(`fastify start, ${supervised ? 'supervised' : 'standalone'}: its delay cuts no request`, async t => {
    const flags = [
      '--address',
      '127.0.0.1',
      '--log-level',
      'info',
      path.join(root, 'test/fixture/cli-app.js')
    ]
    const command = async () => [
      process.execPath,
      // What is behind -- is found in node_modules/.bin of the directory.
      ...(supervised ? [cli, '--', 'fastify'] : [path.join(root, 'node_modules/.bin/fastify')]),
      'start',
      '--port', // takes 0 for its default, on which others may listen
      String(await freePort()),
      ...flags
    ]
    const server = startServer(t, { cwd: root, command: await command() })
    const port = await server.port()
    if (supervised) await server.line('generation ready')
    t.equal((await ask(port)).pid === server.pid, !supervised, 'a worker serves where it is supervised')
    await server.reload()
    await server.line('generation retired')
    t.match(await ask(port), { generation: 2 })
    const request = inFlight(port, 2_000)
    await request.begun
    server.kill('SIGTERM')
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.notMatch(server.stderr(), /killed by timeout/)
    t.equal(said(server, 'onClose hook').length, 2)
    t.same(complaints(server).length, 2, 'once for each start')
    if (supervised) return

    const failing = startServer(t, { command: await command() })
    const last = inFlight(await failing.port(), 2_000)
    await last.begun
    await ask(await lastPort(failing), '/throw')
    t.equal(await last.failure, 'none', 'nor does it after an uncaught error')
    t.same(await failing.exit(), { code: 1, signal: null })
  })
}

async function lastPort({ lines }: Server): Promise<number> {
  return lines.find(({ msg }) => msg === 'listening on')!.bound[0].port
}

/** What takes the last batch of a worker. */
async function startCollector(t: Test) {
  const batches: string[] = []
  const server = http.createServer((request, response) => {
    batches.push(request.url!)
    response.end()
  })
  server.listen(0, '127.0.0.1')
  t.teardown(() => void server.close())
  await once(server, 'listening')
  return { batches, url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}` }
}
