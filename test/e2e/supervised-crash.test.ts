/** A worker that dies, and what its clients see of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'
import { ask } from '../helper/supervised.ts'

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
