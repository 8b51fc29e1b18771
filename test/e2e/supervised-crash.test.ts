/** A worker that dies, and what its clients see of it. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'
import { active, ask, ends, half, inFlight, untilRefused } from '../helper/supervised.ts'

/** The long form: SIGKILLS=20, with `--timeout=900`. */
const kills = Number(process.env.SIGKILLS ?? 3)

t.test(`${kills} SIGKILLs of the worker under load: nobody is refused`, { timeout: 600_000 }, async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  const running = startLoad(t, { host: '127.0.0.1', port }, { clients: 10, fresh: true, pause: [0, 20] })
  let { pid } = await ask(port)
  for (let kill = 1; kill <= kills; kill++) {
    if (kills > 3) await sleep(10_500) // counts as healthy then: else the pauses grow, and the master gives up
    process.kill(pid, 'SIGKILL')
    t.match(await server.line('generation died'), { generation: kill, signal: 'SIGKILL' })
    const early = ask(port) // nobody accepts now
    ;({ pid } = await server.line('generation ready'))
    t.match(await early, { generation: kill + 1 }, 'who came in between has waited')
  }
  const { failures, requests, generations } = await running.stop()
  t.equal(failures.refused, undefined, `none of ${requests} requests, in ${JSON.stringify(failures)}`)
  const lost = Object.values(failures).reduce((sum, count) => sum + count, 0)
  t.equal(
    lost,
    (failures.reset ?? 0) + (failures.eof ?? 0),
    'what the dead ones had in hand, and nothing else'
  )
  t.ok(lost <= 10 * kills, 'at most one request of each client')
  t.ok(generations[kills + 1])
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('a worker that throws is replaced by the version that is there now', async t => {
  const server = startServer(t, { supervised: [], release: { version: 'broken' } })
  const port = await server.port()
  server.deploy({ version: 'mended' })
  await new Client({ host: '127.0.0.1', port }).post('/throw', '', { Connection: 'close' })
  t.match(await server.line('generation died'), { generation: 1, code: 1 })
  await server.line('generation ready')
  t.match(await ask(port), { version: 'mended', generation: 2 })
  t.match(server.stderr() + JSON.stringify(server.lines), /uncaught on purpose/)
})

/** A worker with idle connections and a request in hand, just after an uncaught error; the next one boots only when it may. */
async function startDying(t: Test, options: object = {}) {
  const release = { listen: [{ port: 0, host: '127.0.0.1' }], options }
  const server = startServer(t, { supervised: [], release })
  const port = await server.port()
  await server.line('serves alone') // before that an error is one of its start
  const { pid } = await ask(port)
  const idle = Array.from({ length: 10 }, () => new Client({ host: '127.0.0.1', port }))
  t.teardown(() => idle.map(client => client.close()))
  for (const client of idle) await client.get('/')
  const busy = inFlight(port, 1_000)
  await busy.begun
  server.deploy({ ...release, boot: 'held' })
  await new Client({ host: '127.0.0.1', port }).post('/throw', '', { Connection: 'close' })
  t.match(await server.line('generation died'), { generation: 1, code: 1 })
  t.match(await server.line('signal aborted'), { reason: 'upgrade' }, 'another generation follows')
  const { pid: next } = await server.line('generation spawned', ({ generation }) => generation === 2)
  return { server, port, pid, next, idle, busy, deploy: () => server.deploy(release) }
}

const generationOf = async (client: Client) => JSON.parse((await client.get('/')).body.toString()).generation

t.test(
  'a worker that throws hands its idle connections to the one that takes its place, be it the second',
  async t => {
    const { server, port, pid, next, idle, busy, deploy } = await startDying(t)
    const [waiting, ...others] = idle as [Client, ...Client[]]
    t.equal(await generationOf(waiting), 1, 'served by the dying one while there is no other')
    const early = ask(port) // nobody accepts now
    t.equal(await busy.failure, 'none')
    process.kill(next, 'SIGKILL') // before the release lets it go on
    deploy()
    t.match(await server.line('drained'), { reason: 'upgrade', moved: others.length, cut: 0 })
    await ends(pid)
    for (const client of others) {
      t.equal(await generationOf(client), 3)
      t.equal(client.opened, 1)
    }
    t.match(await early, { generation: 3 })
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  }
)

t.test(
  'a worker that throws while an upgrade is under way hands its connections to the next one',
  async t => {
    const release = { listen: [{ port: 0, host: '127.0.0.1' }] }
    const server = startServer(t, { release, supervised: [] })
    const port = await server.port()
    await server.line('serves alone')
    const idle = new Client({ host: '127.0.0.1', port })
    t.teardown(() => idle.close())
    await idle.get('/')
    server.deploy({ ...release, boot: 'held' })
    server.kill('SIGHUP')
    await server.line('generation spawned', ({ generation }) => generation === 2)
    await new Client({ host: '127.0.0.1', port }).post('/throw', '', { Connection: 'close' })
    await server.line('signal aborted')
    server.deploy(release)
    t.match(await server.line('generation retired'), { generation: 1, code: 1, moved: 1 })
    t.equal(await generationOf(idle), 2)
    t.equal(idle.opened, 1)
  }
)

for (const [what, signal] of [
  ['is closed', 'SIGTERM'],
  ['is lost', 'SIGKILL']
] as const) {
  t.test(`a worker that throws waits for nobody when its master ${what}`, async t => {
    const { server, pid, next, idle, busy } = await startDying(t)
    t.equal(await busy.failure, 'none', 'what is in hand is answered')
    process.kill(next, 'SIGKILL')
    server.kill(signal)
    t.match(await server.line('drained'), { reason: 'close', moved: 0, cut: 0 }, 'long before drainTimeout')
    await ends(pid)
    t.same(
      idle.map(client => client.ended),
      idle.map(() => 'eof')
    )
    t.same(await server.exit(), signal === 'SIGTERM' ? { code: 1, signal: null } : { code: null, signal })
  })
}

t.test('a worker that throws and whose place nobody takes ends at its deadline', async t => {
  const { server, pid, idle, busy } = await startDying(t, { drainTimeout: 1_500 })
  t.equal(await busy.failure, 'none')
  t.match(await server.line('drained'), { reason: 'upgrade', moved: 0, cut: idle.length })
  await ends(pid)
})

t.test('an error of a worker that retires does not end its idle connections', async t => {
  const server = startServer(t, { supervised: ['--handover', 'false', '--poll-interval', '10'] })
  const port = await server.port()
  const idle = new Client({ host: '127.0.0.1', port })
  t.teardown(() => idle.close())
  await idle.get('/')
  const failing = new Client({ host: '127.0.0.1', port }).get('/late-error?ms=drain')
  await active(port, 1)
  await server.reload()
  await failing
  await server.line('uncaught error, closing')
  await sleep(200) // in which there are many sweeps
  t.equal(await generationOf(idle), 1, 'it waits for one more request')
  t.match(await server.line('generation retired'), { code: 1, cut: 0 })
})

/** A server whose worker has died, and that makes a pause of two seconds until it tries again. */
async function startPausing(t: Test) {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  const { pid } = await ask(port)
  server.deploy({ boot: 'throw' })
  process.kill(pid, 'SIGKILL')
  for (let attempt = 1; attempt <= 2; attempt++) await server.line('upgrade failed')
  return { server, port }
}

t.test('SIGHUP in the pause before a replacement ends the pause', async t => {
  const { server, port } = await startPausing(t)
  const waiting = ask(port)
  server.deploy({})
  const failed = server.lines.findLast(({ msg }) => msg === 'upgrade failed')!
  t.match(await server.reload(), { generation: 4 })
  const spawned = server.lines.findLast(({ msg }) => msg === 'generation spawned')!
  t.ok(spawned.time - failed.time < 1_900, 'earlier than by itself')
  t.match(await waiting, { generation: 4 })
})

t.test('SIGTERM in the pause before a replacement ends the master', async t => {
  const { server } = await startPausing(t)
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 1, signal: null }, 'with 1, as nothing served')
})

t.test('a worker that leaves by itself with code 0 meant it: the master ends with 0', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  await server.reload()
  await server.line('generation retired')
  await new Client({ host: '127.0.0.1', port }).post('/close', '', { Connection: 'close' })
  t.match(await server.line('generation ended by itself'), { generation: 2 })
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 2)
})

t.test('SIGTERM while a worker that failed is replaced: new connections are refused as well', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  await server.line('serves alone')
  const request = half(port)
  await request.begun
  server.deploy({ boot: 'held' })
  await new Client({ host: '127.0.0.1', port }).post('/throw', '', { Connection: 'close' })
  await server.line('generation spawned', ({ generation }) => generation === 2)
  server.kill('SIGTERM')
  t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined)
  await request.finish()
  t.equal(await request.failure, 'none')
  t.same(await server.exit(), { code: 1, signal: null })
})

t.test('SIGTERM while one that was killed is replaced, and an older one drains yet', async t => {
  const server = startServer(t, { supervised: ['--handover', 'false'] })
  const port = await server.port()
  const request = half(port)
  await request.begun
  const { pid } = await server.reload()
  server.deploy({ boot: 'held' })
  process.kill(pid, 'SIGKILL')
  await server.line('generation spawned', ({ generation }) => generation === 3)
  server.kill('SIGTERM')
  t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined)
  await request.finish()
  t.equal(await request.failure, 'none')
  t.same(await server.exit(), { code: 1, signal: null })
})

t.test(
  'an uncaught error in a worker keeps the port open and the file of a Unix socket in place',
  async t => {
    const server = startServer(t, {
      release: { listen: [{ port: 0, host: '127.0.0.1' }, { path: 'app.sock' }] }
    })
    const { bound } = await server.line('listening on')
    await server.line('listening on')
    await server.reload()
    await server.line('generation retired')
    const address = { host: '127.0.0.1', port: bound[0].port }
    const running = startLoad(t, address, { clients: 5, fresh: true, pause: [0, 20] })
    const slow = inFlight(address.port, 1_500)
    await slow.begun
    await new Client(address).post('/throw', '', { Connection: 'close' })
    t.match(await server.line('generation died'), { generation: 2, code: 1 })
    t.match(await server.line('generation ready', ({ generation }) => generation === 3), {})
    t.match(await slow.answer, { status: 200 }, 'what it had in hand it has answered')
    t.same((await running.stop()).failures, {}, 'nobody was refused meanwhile')
    t.ok(existsSync(path.join(server.directory, 'app.sock')))
    t.match(await new Client({ path: path.join(server.directory, 'app.sock') }).get('/'), { status: 200 })
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
    t.notOk(existsSync(path.join(server.directory, 'app.sock')))
  }
)
