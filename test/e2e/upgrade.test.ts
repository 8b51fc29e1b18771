/** An upgrade, told by the first process that becomes the master: how it goes, how it fails, who is lost in it. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { ask as askMaster } from '../../lib/client/ask.js'
import { findMaster } from '../../lib/client/find.js'
import { temporaryFolder } from '../helper/folder.ts'
import { freePorts } from '../helper/free-port.ts'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { fixtures, startServer } from '../helper/server.ts'
import { active, ask as askOnce, ends, hasLoaded, inFlight } from '../helper/supervised.ts'

const ask = async (client: Client, path = '/') => JSON.parse((await client.get(path)).body.toString())

t.test('an upgrade runs the new version and retires the old one, and says so, also in a worker', async t => {
  const server = startServer(t, { release: { version: 'one' } })
  const address = { host: '127.0.0.1', port: await server.port() }
  const client = new Client(address)
  t.match(await ask(client), { version: 'one', generation: 1, pid: server.pid })
  t.same(await ask(client, '/state'), { state: 'serving', isReady: true, aborted: false })
  server.deploy({ version: 'two' })
  for (const generation of [2, 3]) {
    const { body } = await new Client(address).post('/upgrade', '', { Connection: 'close' })
    const { pid } = await server.line('generation ready', line => line.generation === generation)
    t.match(JSON.parse(body.toString()), { generation, pid, ms: Number })
    t.match(await server.line('signal aborted'), { reason: 'upgrade', state: 'draining' })
    t.match(await server.line('generation retired'), { generation: generation - 1, code: 0, ms: Number })
    t.match(await ask(client), { version: 'two', generation, pid }, 'on the connection of before')
  }
  t.equal(client.opened, 1)
  client.close()
})

t.test('a second reload during an upgrade is refused and logged', async t => {
  const server = startServer(t)
  const client = new Client({ host: '127.0.0.1', port: await server.port() })
  server.deploy({ boot: 'held' })
  server.kill('SIGHUP')
  await server.line('generation spawned')
  t.same(await ask(client, '/state'), { state: 'upgrading', isReady: true, aborted: false })
  server.kill('SIGHUP')
  t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' } })
  server.deploy({})
  t.match(await server.line('generation ready'), { generation: 2 })
  t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 1)
  client.close()
})

const failures = [
  { boot: 'throw', message: /code 1/, lastWords: /this release throws/ },
  { boot: 'killed', message: /SIGKILL/ },
  { boot: 'throwBetween', message: /code 1/, lastWords: /one instance listening/ },
  { boot: 'syntax', message: /code 1/, lastWords: /SyntaxError/ }
]
t.test('new versions that fail leave the old one serving', async t => {
  const script = path.join(fixtures, 'fails.local.js')
  const source = readFileSync(path.join(fixtures, 'server.js'), 'utf8')
  t.teardown(() => rmSync(script, { force: true }))
  writeFileSync(script, source)
  const release = { listen: [{ port: 0, host: '127.0.0.1' }, { port: 0 }] }
  const server = startServer(t, { fixture: path.basename(script), release })
  const address = { host: '127.0.0.1', port: await server.port() }
  const running = startLoad(t, address, { clients: 5, fresh: true, pause: [0, 40] })
  const client = new Client(address)
  let generation = 2
  for (const { boot, message, lastWords } of failures) {
    await t.test(`${boot}: the reason is told, and the next upgrade tries again`, async t => {
      if (boot === 'syntax') writeFileSync(script, 'const x = ;')
      server.deploy({ ...release, boot })
      const answer = await client.post('/upgrade', '').catch(error => error.message)
      t.match(answer, /GRACEFUL_UPGRADE_EXITED/, 'upgrade() rejects')
      t.match(await server.line('upgrade failed'), {
        err: { code: 'GRACEFUL_UPGRADE_EXITED', message, ...(lastWords ? { lastWords } : {}) },
        generation: generation++
      })
      t.match(await ask(client), { generation: 1 })
    })
  }
  writeFileSync(script, source)
  server.deploy(release)
  t.match(await server.reload(), { generation })
  t.same((await running.stop()).failures, {}, 'no client noticed')
  client.close()
})

t.test('a worker that loses its master serves on and answers SIGHUP itself', async t => {
  const server = startServer(t)
  const address = { host: '127.0.0.1', port: await server.port() }
  const first = await server.reload()
  await server.line('generation retired')
  server.kill('SIGKILL')
  await server.exit()
  t.match(await server.line(/master lost/), { generation: 2 })
  const client = new Client(address)
  t.match(await ask(client), { pid: first.pid, generation: 2 })
  for (const generation of [3, 4]) {
    process.kill(first.pid, 'SIGHUP')
    t.match(await server.line('generation ready'), { generation })
    client.close()
    await server.line('generation retired')
  }
  t.match(await ask(client), { generation: 4 })
  client.close()
})

t.test(
  'a master that dies in the middle of an upgrade leaves one generation, the one that served, which is its own master',
  async t => {
    const address = { path: path.join(temporaryFolder(t), 'app.sock') }
    const server = startServer(t, { release: { listen: [address] } })
    await server.line('listening on')
    const first = await server.reload()
    await server.line('generation retired')
    server.deploy({ listen: [address], boot: 'held' })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned', ({ generation }) => generation === 3)
    const state = async () => (await ask(new Client(address), '/state')).state
    while ((await state()) !== 'upgrading') await sleep(10) // the worker hears of it behind that line
    server.kill('SIGKILL')
    await server.line(/master lost/)
    server.deploy({ listen: [address] })
    await ends(pid) // the one that was starting
    t.match(await ask(new Client(address)), { generation: 2 })
    t.equal(await state(), 'serving')
    process.kill(first.pid, 'SIGTERM')
    await ends(first.pid)
    t.notOk(existsSync(address.path), 'the file of its socket goes with it')
  }
)

for (const when of ['before', 'after'] as const) {
  t.test(
    `a generation whose master is lost ${when} it has loaded this package boots on, and nobody is refused`,
    { skip: process.platform !== 'linux' },
    async t => {
      const [port] = await freePorts(1)
      const release = { listen: [{ port, host: '127.0.0.1' }] }
      const server = startServer(t, { release })
      await server.port()
      server.deploy({ ...release, boot: 'held' })
      server.kill('SIGHUP')
      const { pid } = await server.line('generation spawned')
      if (when === 'after') await hasLoaded(pid)
      server.kill('SIGKILL')
      await server.exit()
      const waiting = askOnce(port!)
      waiting.catch(() => {})
      await sleep(600) // it hears of that
      const later = askOnce(port!)
      server.deploy(release)
      for (const answer of [waiting, later]) t.match(await answer, { generation: 2, pid })
    }
  )
}

t.test('reloads that fail leave no listeners behind in the master', async t => {
  // It fails before it loads anything, as it does so twelve times.
  const preload = 'import fs from "node:fs"; if (fs.existsSync("broken")) process.exit(3)'
  const server = startServer(t, { nodeArgs: ['--import', `data:text/javascript,${preload}`] })
  await server.port()
  writeFileSync(path.join(server.directory, 'broken'), '')
  const socket = await findMaster(String(server.pid))
  for (let round = 1; round <= 12; round++) {
    await t.rejects(askMaster(socket, 'reload'), { code: 'GRACEFUL_UPGRADE_EXITED' })
  }
  t.notMatch(server.stderr(), /MaxListenersExceededWarning/)
})

t.test('an error of the code that the first process has retired does not end the master', async t => {
  const server = startServer(t)
  const address = { host: '127.0.0.1', port: await server.port() }
  const late = new Client(address).get('/late-error?ms=drain')
  await active(address.port, 1)
  await server.reload()
  await late
  t.match(await server.line(/uncaught error in a retired generation/), {
    err: { message: 'late on purpose' }
  })
  t.match(await new Client(address).get('/'), { status: 200 })
  t.match(await server.reload(), { generation: 3 })
})

t.test('app.close() during an upgrade ends the server, and gives the upgrade up', async t => {
  const server = startServer(t, { release: { options: { closeSignals: false } } })
  const client = new Client({ host: '127.0.0.1', port: await server.port() })
  server.deploy({ boot: 'held' })
  server.kill('SIGHUP')
  await server.line('generation spawned')
  await client.post('/close', '')
  t.same(await server.exit(), { code: 0, signal: null })
  t.notOk(server.lines.some(({ msg, generation }) => msg === 'listening on' && generation === 2))
})

t.test('each instance of a worker has its own drainTimeout', async t => {
  const options = { drainTimeout: 500, closeTimeout: 100 }
  const server = startServer(t, { release: { options } })
  const address = { host: '127.0.0.1', port: await server.port() }
  server.deploy({ options: { drainTimeout: 20_000, closeTimeout: 100 } })
  await server.reload()
  await server.line('generation retired')
  const slow = inFlight(address.port, 3_500)
  await slow.begun
  await server.reload()
  t.match(await slow.answer, { status: 200 }, 'as the new version says, not as the first one did')
})

t.test('upgrades while older generations still drain are possible', async t => {
  const server = startServer(t, { release: { options: { handover: false } } })
  const address = { host: '127.0.0.1', port: await server.port() }
  const clients = [new Client(address), new Client(address), new Client(address)]
  for (const [index, client] of clients.entries()) {
    t.match(await ask(client), { generation: index + 1 })
    await server.reload()
    await server.line('signal aborted') // from here on the old one accepts no more
  }
  for (const [index, client] of clients.entries()) {
    t.match(
      await ask(client),
      { generation: index + 1 },
      'each is answered by the generation that it is connected to'
    )
    await server.line('generation retired', ({ generation }) => generation === index + 1)
  }
})

for (const where of ['cluster', 'thread']) {
  t.test(
    `where an upgrade is not possible (${where}) it is refused with a reason, and the server serves on`,
    async t => {
      const server = startServer(t, { fixture: 'elsewhere.js', env: { WHERE: where } })
      const client = new Client({ host: '127.0.0.1', port: await server.port() })
      await t.rejects(client.post('/upgrade', '', { 'Content-Type': 'application/json' }), {
        message: /GRACEFUL_UPGRADE_UNSUPPORTED|Bad Request/
      })
      const { pid } = await ask(client)
      if (where === 'cluster') {
        process.kill(pid, 'SIGHUP')
        t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_UNSUPPORTED' } })
      }
      t.match(await ask(client), { pid })
      client.close()
    }
  )
}
