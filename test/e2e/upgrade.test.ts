import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'
import { ends } from '../helper/supervised.ts'

const ask = async (client: Client, path = '/') => JSON.parse((await client.get(path)).body.toString())

t.test('a reload runs the new version and retires the old one', async t => {
  const server = startServer(t, { release: { version: 'one' } })
  const address = { host: '127.0.0.1', port: await server.port() }
  const client = new Client(address)
  t.match(await ask(client), { version: 'one', generation: 1, pid: server.pid })
  t.same(await ask(client, '/state'), { state: 'serving', aborted: false })
  server.deploy({ version: 'two' })
  const ready = await server.reload()
  t.match(ready, { generation: 2, ms: Number })
  t.match(await server.line('signal aborted'), { reason: 'upgrade', state: 'draining' })
  t.match(await server.line('generation retired'), { generation: 1, code: 0, ms: Number })
  t.match(await ask(client), { version: 'two', generation: 2 }, 'on the connection of before')
  t.equal(client.opened, 1)
  client.close()
})

t.test('upgrade() resolves with what serves now, and is the same from a worker', async t => {
  const server = startServer(t)
  const client = new Client({ host: '127.0.0.1', port: await server.port() })
  for (const generation of [2, 3]) {
    const { body } = await client.post('/upgrade', '')
    t.match(JSON.parse(body.toString()), { generation, pid: Number, ms: Number })
    client.close()
    await server.line('generation retired')
  }
})

t.test('a second reload during an upgrade is refused and logged', async t => {
  const server = startServer(t)
  const client = new Client({ host: '127.0.0.1', port: await server.port() })
  server.deploy({ boot: 'held' })
  server.kill('SIGHUP')
  await server.line('generation spawned')
  t.same(await ask(client, '/state'), { state: 'upgrading', aborted: false })
  server.kill('SIGHUP')
  t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' } })
  server.deploy({})
  t.match(await server.line('generation ready'), { generation: 2 })
  t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 1)
  client.close()
})

const failures = [
  { boot: 'throw', code: 'GRACEFUL_UPGRADE_EXITED', message: /code 1/, lastWords: /this release throws/ },
  {
    boot: 'exit3',
    code: 'GRACEFUL_UPGRADE_EXITED',
    message: /code 3/,
    lastWords: /configuration is missing/
  },
  { boot: 'exit0', code: 'GRACEFUL_UPGRADE_EXITED', message: /code 0/ },
  { boot: 'killed', code: 'GRACEFUL_UPGRADE_EXITED', message: /SIGKILL/ },
  { boot: 'hang', code: 'GRACEFUL_UPGRADE_READY_TIMEOUT', message: /readyTimeout \(5000 ms\)/ },
  {
    boot: 'throwBetween',
    code: 'GRACEFUL_UPGRADE_EXITED',
    message: /code 1/,
    lastWords: /one instance listening/
  }
]
for (const { boot, code, message, lastWords } of failures) {
  t.test(
    `a new version that fails (${boot}) leaves the old one serving, and the next reload tries again`,
    async t => {
      const release = {
        options: { readyTimeout: boot === 'hang' ? 5_000 : 60_000 },
        listen: [{ port: 0, host: '127.0.0.1' }, { port: 0 }]
      }
      const server = startServer(t, { release })
      const address = { host: '127.0.0.1', port: await server.port() }
      const running = startLoad(t, address, {
        clients: 5,
        fresh: true,
        pause: [0, 40]
      })
      server.deploy({ ...release, boot })
      const client = new Client(address)
      const answer = await client.post('/upgrade', '').catch(error => error.message)
      t.match(answer, new RegExp(code), 'upgrade() rejects')
      t.match(await server.line('upgrade failed'), {
        err: { code, message, ...(lastWords ? { lastWords } : {}) },
        generation: 2
      })
      server.deploy(release)
      t.match(await server.reload(), { generation: 3 })
      t.same((await running.stop()).failures, {}, 'no client noticed')
      client.close()
    }
  )
}

t.test('a new version with a syntax error fails with its words', async t => {
  const { writeFileSync, copyFileSync } = await import('node:fs')
  const path = await import('node:path')
  const script = path.resolve(import.meta.dirname, '../fixture/syntax.local.js')
  t.teardown(async () => (await import('node:fs')).rmSync(script, { force: true }))
  copyFileSync(path.resolve(import.meta.dirname, '../fixture/server.js'), script)
  const server = startServer(t, { fixture: 'syntax.local.js' })
  await server.port()
  writeFileSync(script, 'const x = ;')
  server.kill('SIGHUP')
  t.match(await server.line('upgrade failed'), { err: { lastWords: /SyntaxError/ } })
})

t.test('a worker that dies is replaced, and no client is refused', async t => {
  const server = startServer(t, { release: { listen: [{ port: 0, host: '127.0.0.1' }] } })
  const address = { host: '127.0.0.1', port: await server.port() }
  let { pid } = await server.reload()
  await server.line('generation retired')
  const running = startLoad(t, address, { clients: 10, fresh: true, pause: [0, 40] })
  for (let death = 0; death < 2; death++) {
    await sleep(300)
    process.kill(pid, 'SIGKILL')
    t.match(await server.line('generation died'), { signal: 'SIGKILL' })
    ;({ pid } = await server.line('generation ready'))
  }
  await sleep(300)
  const { failures, requests } = await running.stop()
  t.equal(failures.refused, undefined, `none of ${requests} requests was refused`)
  t.ok(
    (failures.reset ?? 0) + (failures.eof ?? 0) <= 20,
    'what the dead ones had in hand is lost, and no more'
  )
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('SIGHUP ends the pause before a dead worker is replaced again', async t => {
  const server = startServer(t)
  await server.port()
  const { pid } = await server.reload()
  server.deploy({ boot: 'throw' })
  process.kill(pid, 'SIGKILL')
  await server.line('upgrade failed') // at once
  await server.line('upgrade failed') // after a second
  await server.line('upgrade failed') // after two more; the next would come after four
  server.deploy({})
  const failed = server.lines.findLast(({ msg }) => msg === 'upgrade failed')!
  await server.reload()
  const spawned = server.lines.findLast(({ msg }) => msg === 'generation spawned')!
  t.ok(spawned.time - failed.time < 3_900, 'earlier than by itself')
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
  'a master that dies in the middle of an upgrade leaves one generation, the one that served',
  async t => {
    const server = startServer(t)
    const address = { host: '127.0.0.1', port: await server.port() }
    await server.reload()
    await server.line('generation retired')
    server.deploy({ boot: 'slow', bootTime: 500 })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned', ({ generation }) => generation === 3)
    server.kill('SIGKILL')
    await server.line(/master lost/)
    await ends(pid) // the one that was starting
    t.match(await ask(new Client(address)), { generation: 2 })
  }
)

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
