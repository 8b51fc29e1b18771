/** What a signal does where `closeDelay` is set: the server serves on, and says that it goes. */
import t, { type Test } from 'tap'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { type LogLine, type Server, type StartOptions, startServer } from '../helper/server.ts'
import { inFlight } from '../helper/supervised.ts'

/** Longer than any test: what ends it is a second signal. */
const forLong = { closeDelay: 600_000 }
const lingers = /^serving on for closeDelay/

interface State {
  readonly state: string
  readonly isReady: boolean
  readonly connection: string | undefined
}

async function stateOf(client: Client): Promise<State> {
  const { status, headers, body } = await client.get('/state')
  if (status !== 200) throw new Error(`answered ${status}`)
  const { state, isReady } = JSON.parse(body.toString())
  return { state, isReady, connection: headers.connection?.toLowerCase() }
}

async function start(t: Test, options: object, given: StartOptions = {}) {
  const server = startServer(t, { ...given, release: { options } })
  const port = await server.port()
  const connect = () => {
    const client = new Client({ host: '127.0.0.1', port })
    t.teardown(() => client.close())
    return client
  }
  return { server, port, connect }
}

/** An application serves on from this moment; its master has said so before. */
function begun(server: Server): Promise<LogLine> {
  return server.line(lingers, isOwn)
}

/** Those that have said so. */
function pidsOf(server: Server): number[] {
  return server.lines.filter(line => lingers.test(line.msg) && isOwn(line)).map(({ pid }) => pid)
}

function isOwn({ generationPid }: LogLine): boolean {
  return generationPid === undefined
}

const closing = { state: 'closing', isReady: false, connection: 'close' }

for (const upgrades of [0, 1]) {
  t.test(`standalone, generation ${upgrades + 1}: it serves on until a second signal`, async t => {
    const { server, port, connect } = await start(t, forLong)
    for (let upgrade = 0; upgrade < upgrades; upgrade++) {
      await server.reload()
      await server.line('generation retired')
    }
    const idle = connect()
    t.match(await stateOf(idle), { state: 'serving', isReady: true, connection: 'keep-alive' })
    const request = inFlight(port, 'drain')
    await request.begun
    server.kill('SIGTERM')
    await begun(server)
    t.same(await stateOf(idle), closing, 'a connection that was open is answered')
    t.same(await stateOf(connect()), closing, 'and so is a fresh one')
    t.equal((await statusOf(server.pid)).state, 'closing')
    server.kill('SIGHUP')
    t.equal((await server.line('upgrade refused')).err.code, 'GRACEFUL_UPGRADE_CLOSING')
    t.same(await stateOf(connect()), closing)
    server.kill('SIGINT')
    await server.line('second signal, draining now')
    t.equal((await request.answer).headers.connection, 'close')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}

t.test('two workers, as by Ctrl-C: both serve on until a second one', async t => {
  const { server, connect } = await start(t, forLong, { supervised: ['--workers', '2'] })
  for (let worker = 0; worker < 2; worker++) await server.line('serves alone')
  process.kill(-server.pid, 'SIGINT')
  await begun(server)
  await begun(server)
  t.equal(new Set(pidsOf(server)).size, 2)
  for (let count = 0; count < 8; count++) t.same(await stateOf(connect()), closing)
  const { state, generations } = await statusOf(server.pid)
  t.equal(state, 'closing')
  t.match(generations, [{ state: 'closing', workers: [{ state: 'closing' }, { state: 'closing' }] }])
  process.kill(-server.pid, 'SIGTERM') // the same one would be the first one's echo for a moment yet
  t.same(await server.exit(), { code: 0, signal: null })
  t.same(
    server.lines.filter(({ level }) => level > 30),
    []
  )
})

for (const supervised of [undefined, [], ['--workers', '2']]) {
  const how =
    supervised === undefined ? 'standalone' : supervised.length === 0 ? 'supervised' : 'of two workers'

  t.test(`an uncaught error in that time drains, as at any other: ${how}`, async t => {
    const { server, port, connect } = await start(t, forLong, supervised && { supervised })
    for (let worker = 0; worker < (supervised?.length === 2 ? 2 : 1); worker++)
      await server.line('serves alone')
    server.kill('SIGTERM')
    await begun(server)
    const request = inFlight(port, 1_500)
    await request.begun
    await connect().post('/throw', '')
    t.match(await server.line('uncaught error, closing'), { level: 60 })
    await server.line('signal aborted')
    t.equal(await request.failure, 'none', 'what is under way is answered')
    if (supervised?.length === 2) server.kill('SIGINT') // the other one serves on
    t.same(await server.exit(), { code: 1, signal: null })
  })
}

t.test('a third signal ends it at once', async t => {
  const { server, port } = await start(t, forLong, { supervised: [] })
  const request = inFlight(port, 600_000)
  await request.begun
  server.kill('SIGTERM')
  await begun(server)
  server.kill('SIGINT')
  await server.line('signal aborted')
  server.kill('SIGTERM')
  await server.line('second signal, ending at once')
  t.not(await request.failure, 'none')
  t.same(await server.exit(), { code: 1, signal: null })
})

t.test('a worker that alone serves, and gets the signals itself, does the same', async t => {
  const { server, connect } = await start(t, forLong, { supervised: [] })
  const { pid } = await server.line('listening on')
  process.kill(pid, 'SIGTERM')
  await begun(server)
  t.same(await stateOf(connect()), closing)
  process.kill(pid, 'SIGINT')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('stop waits for all of it, and nobody is killed before its time', async t => {
  const closeDelay = 2_500 // what a master forgives beyond the other two is a second
  const options = { closeDelay, drainTimeout: 0, closeTimeout: 0 }
  const { server, connect } = await start(t, options, { supervised: ['--workers', '2'] })
  for (let worker = 0; worker < 2; worker++) await server.line('serves alone')
  const asked = performance.now()
  const stopped = graceful(['stop', String(server.pid)])
  await begun(server)
  t.same(await stateOf(connect()), closing)
  t.match(await stopped, { code: 0, stdout: /stopped after/ })
  t.ok(performance.now() - asked >= closeDelay)
  t.same(await server.exit(), { code: 0, signal: null })
  t.same(
    server.lines.filter(({ level }) => level > 30),
    []
  )
})

t.test('while a generation is on probation both serve on', async t => {
  const { server, connect } = await start(t, { ...forLong, probation: 600_000 })
  server.kill('SIGHUP')
  await server.line(/^generation on probation/)
  server.kill('SIGTERM')
  await begun(server)
  await begun(server)
  t.equal(new Set(pidsOf(server)).size, 2)
  t.same(await stateOf(connect()), closing)
  server.kill('SIGINT')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('no upgrade shows in what a probe is answered', async t => {
  const { server, connect } = await start(t, { ...forLong, handover: false })
  const old = connect()
  await stateOf(old)
  await server.reload()
  await server.line('draining')
  const { state, isReady } = await stateOf(old)
  t.same(
    { state, isReady },
    { state: 'draining', isReady: true },
    'on a connection that waits for one more request'
  )
  await server.line('generation retired')
  t.match(await stateOf(connect()), { state: 'serving', isReady: true })
  t.same(pidsOf(server), [])
})
