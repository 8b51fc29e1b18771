/** What may go wrong while connections are handed over, and what clients see of it: nothing, or a clean end. */
import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer, stop } from '../helper/server.ts'
import { ends, half } from '../helper/supervised.ts'

/** So many that a handover is far from over when it is first seen, as with 'all' they go in the course of a second. */
const many = 300

async function start(t: Test, connections: number, options: object = {}) {
  const full = { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: 'all', ...options } }
  const server = startServer(t, { release: full })
  const address = { host: '127.0.0.1', port: await server.port() }
  const clients = Array.from({ length: connections }, () => new Client(address))
  t.teardown(() => clients.map(client => client.close()))
  for (const client of clients) await client.get('/')
  return { server, address, clients, release: full }
}

/** The handover is under way: the new process has got some connections, and is far from having all. */
async function untilSomeMoved(pid: number): Promise<void> {
  if (process.platform !== 'linux') return sleep(60)
  // A process has some 25 descriptors before.
  const end = performance.now() + 60_000
  while (readdirSync(`/proc/${pid}/fd`).length < 60) {
    if (performance.now() > end) throw new Error('so many have not moved')
    await sleep(1)
  }
}

/** One request on every connection that is open: how often which generation answered, or what went wrong. */
async function askAll(clients: Client[]): Promise<Record<string, number>> {
  const results: Record<string, number> = {}
  await Promise.all(
    clients.map(async client => {
      const result =
        client.ended ??
        (await client.get('/').then(
          ({ body }) => `generation ${JSON.parse(body.toString()).generation}`,
          ({ failure }) => failure
        ))
      results[result] = (results[result] ?? 0) + 1
    })
  )
  return results
}

const sum = (results: Record<string, number>) =>
  Object.values(results).reduce((total, count) => total + count, 0)
const answered = (results: Record<string, number>) =>
  sum(Object.fromEntries(Object.entries(results).filter(([name]) => name.startsWith('generation'))))

t.test(
  'SIGKILL of the new process during the handover: what it had not taken is served by the others',
  async t => {
    const { server, address, clients } = await start(t, many)
    const last = half(address.port) // all others may have moved when it is seen that some have
    await last.begun
    const { pid } = await server.reload()
    await untilSomeMoved(pid)
    process.kill(pid, 'SIGKILL')
    await server.line('generation died')
    const { generation } = await server.line('generation ready')
    t.equal(generation, 3)
    await last.finish()
    t.match(JSON.parse(String((await last.answer).body)), { generation: 1, body: 'a=1' })
    const results = await askAll(clients)
    t.comment(results)
    t.equal(results.timeout, undefined, 'nobody hangs')
    t.equal(
      answered(results) + (results.eof ?? 0) + (results.reset ?? 0),
      many,
      'what was with it ended with it'
    )
    await server.line('generation retired', line => line.generation === 1)
    t.same(await server.line('drained', line => line.reason === 'upgrade').then(line => line.refused), 0)
  }
)

t.test(
  'SIGKILL of the new process after the handover: it is replaced, and new connections are served',
  async t => {
    const { server, address } = await start(t, 50)
    const { pid } = await server.reload()
    await server.line('generation retired')
    process.kill(pid, 'SIGKILL')
    await server.line('generation died')
    t.same(await askAll([new Client(address)]), { 'generation 3': 1 })
  }
)

t.test('SIGKILL of the old process during the handover: what was adopted lives on', async t => {
  const { server, clients } = await start(t, many)
  const { pid } = await server.reload() // from here on worker to worker
  await server.line('generation retired')
  await untilSomeMoved((await server.reload()).pid)
  process.kill(pid, 'SIGKILL')
  await server.line('generation retired', ({ signal }) => signal === 'SIGKILL')
  const results = await askAll(clients)
  t.comment(results)
  t.ok(results['generation 3']! > 0, 'those that had been handed over')
  t.equal(
    results['generation 3']! + (results.eof ?? 0) + (results.reset ?? 0),
    many,
    'the others have ended cleanly'
  )
})

t.test(
  'SIGSTOP of the new process for longer than the drain: nobody reads on, and nothing is lost',
  async t => {
    const { server, clients } = await start(t, many, { drainTimeout: 5_000 })
    const { pid } = await server.reload()
    await untilSomeMoved(pid)
    process.kill(pid, 'SIGSTOP')
    await server.line('generation retired', ({ generation }) => generation === 1)
    await sleep(200)
    process.kill(pid, 'SIGCONT')
    const results = await askAll(clients)
    t.comment(results)
    t.ok(results['generation 2']! > 0, 'what had been offered is adopted when it goes on')
    t.equal(
      results['generation 2']! + (results.eof ?? 0) + (results.reset ?? 0),
      many,
      'the rest ended at the deadline'
    )
  }
)

t.test('SIGKILL of the master during a relay: what it had not taken is served, nothing hangs', async t => {
  const { server, clients } = await start(t, many, { drainTimeout: 600_000 }) // nobody waits for that
  const { pid } = await server.reload()
  await server.line('generation retired')
  await untilSomeMoved((await server.reload()).pid) // from worker to worker through the master
  await stop(server.pid) // it never acknowledges what is sent to it now, of whose sender Node.js says nothing
  server.kill('SIGKILL')
  await server.line(/master lost/)
  const results = await askAll(clients)
  t.comment(results)
  t.equal(results.timeout, undefined, 'none hangs')
  t.ok(answered(results) >= many - 2, 'at most those that it had taken, and not given on, have ended')
  t.equal(sum(results), many)
  await askAll(clients) // the next answer ends a connection at the latest
  await ends(pid)
})

t.test(
  'the first process dies when it has not taken the listener of the next one, which serves alone',
  async t => {
    const { server, address, release } = await start(t, 0)
    server.deploy({ ...release, boot: 'held' })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned')
    await stop(server.pid)
    server.deploy(release)
    await server.line('listening on', line => line.pid === pid)
    server.kill('SIGKILL')
    t.match(await server.line(/master lost/), { pid })
    t.same(await askAll([new Client(address)]), { 'generation 2': 1 })
    process.kill(pid, 'SIGTERM')
    await ends(pid)
  }
)

t.test('two upgrades back to back: the connections end up in the last one', async t => {
  const { server, clients } = await start(t, many)
  await server.reload()
  await server.reload()
  await server.line('generation retired')
  await server.line('generation retired')
  t.same(await askAll(clients), { 'generation 3': many })
  t.ok(clients.every(({ opened }) => opened === 1))
})

t.test('SIGTERM in the middle of a handover: everything ends, with code 0', async t => {
  const { server, address } = await start(t, many)
  await untilSomeMoved((await server.reload()).pid)
  const slow = new Client(address).get('/slow?ms=drain')
  server.kill('SIGTERM')
  t.match(await slow, { status: 200 })
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('300 connections whose next request is written while they are offered lose none', async t => {
  for (const [handover, upgrades] of [
    ['idle', 1],
    ['all', 2]
  ] as const) {
    const { server, clients } = await start(t, 300, { handover })
    for (let upgrade = 0; upgrade < upgrades; upgrade++) {
      await server.reload()
      // Requests go on all through the handover, a turn of ten at a time.
      const answers: Promise<unknown>[] = []
      for (const [index, client] of clients.entries()) {
        answers.push(
          client.get('/').then(
            () => 'answered',
            ({ failure }) => failure
          )
        )
        if (index % 10 === 0) await sleep(1)
      }
      t.same(new Set(await Promise.all(answers)), new Set(['answered']))
      await server.line('generation retired')
    }
    if (handover === 'all')
      t.ok(
        clients.every(({ opened }) => opened === 1),
        'on the same 300 connections'
      )
  }
})

t.test('deaths under load cost at most what the dead one had', async t => {
  const { server, address } = await start(t, 0)
  const running = startLoad(t, address, { clients: 50, pause: [0, 200] })
  const fresh = startLoad(t, address, { clients: 10, fresh: true, pause: [0, 40] })
  for (let round = 0; round < 2; round++) {
    await sleep(500)
    const { pid } = await server.reload()
    await server.line('generation retired', line => line.pid !== pid)
    await sleep(200)
    process.kill(pid, 'SIGKILL')
    await server.line('generation ready', line => line.replaces !== undefined || line.pid !== pid)
  }
  await sleep(500)
  for (const [{ stop }, most] of [
    [running, 100],
    [fresh, 20]
  ] as const) {
    const { failures } = await stop()
    t.comment(failures)
    t.equal(failures.timeout, undefined)
    t.equal(failures.refused, undefined)
    t.ok((failures.eof ?? 0) + (failures.reset ?? 0) <= most, 'each death at most once for each connection')
  }
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})
