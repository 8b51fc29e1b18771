/** What several workers listen on: each socket once, whoever of them wants it. */
import { existsSync } from 'node:fs'
import type { NetConnectOpts } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { type Server, startServer } from '../helper/server.ts'
import { ends } from '../helper/supervised.ts'

/** Of the listener with this index, as one of the workers has said. */
async function boundOf(server: Server, index: number) {
  return (await server.line('listening on', line => line.index === index)).bound
}

async function ask(address: NetConnectOpts): Promise<any> {
  const { body } = await new Client(address).get('/', { Connection: 'close' })
  return JSON.parse(body.toString())
}

t.test('two workers share listeners of every kind over upgrades, recycling and a death', async t => {
  const release = {
    dualLocalhost: true,
    listen: [
      { port: 0, host: '127.0.0.1' },
      { port: 0, host: 'localhost' },
      { path: 'app.sock' },
      { port: 0, host: '127.0.0.2', worker: 0 } // free ports of one address are told apart by their order
    ],
    metrics: { port: 0, host: '127.0.0.1' },
    options: { handover: 'all', claimTimeout: 300 }
  }
  const server = startServer(t, { release, supervised: ['--workers', '2'] })
  const [first, second, , admin] = [
    await boundOf(server, 0),
    await boundOf(server, 1),
    await boundOf(server, 2),
    await boundOf(server, 3)
  ]
  const { port: metrics } = (await server.line('metrics listening on')).bound
  const { unclaimed, generationPid } = await server.line('generation ready')
  t.same(unclaimed, [])
  const socket = path.join(server.directory, 'app.sock')
  const addresses = {
    'port 0': { host: '127.0.0.1', port: first[0].port },
    'localhost on 127.0.0.1': { host: '127.0.0.1', port: second[0].port },
    'localhost on ::1': { host: '::1', port: second[0].port },
    'a Unix socket': { path: socket },
    'one that only worker 0 has': { host: '127.0.0.2', port: admin[0].port }
  }
  const loads = Object.entries(addresses).map(([name, address]) => ({
    name,
    kept: startLoad(t, address, { clients: 4, pause: [0, 10] }),
    fresh: startLoad(t, address, { clients: 2, pause: [0, 20], fresh: true })
  }))
  let pid0 = generationPid
  for (const generation of [2, 3]) {
    const begun = performance.now()
    const ready = await server.reload()
    t.same(ready.unclaimed, [], 'the one that only worker 0 has is not dropped')
    t.ok(performance.now() - begun < 60_000)
    pid0 = ready.generationPid
    await server.line('generation retired')
    for (const { kept, fresh } of loads)
      await Promise.all([kept.answered(generation), fresh.answered(generation)])
  }
  const workers = new Set<number>()
  while (workers.size < 2) workers.add((await ask({ host: '::1', port: second[0].port })).worker)
  t.match(await ask(addresses['one that only worker 0 has']), { worker: 0 })

  process.kill(pid0, 'SIGTERM')
  t.match(await server.line('worker retired'), { worker: 0, generationPid: pid0, code: 0 })
  t.ok(existsSync(socket), 'the file stays under the siblings')
  const other = await workerOnSocket(1)
  process.kill(other, 'SIGTERM')
  t.match(await server.line('worker retired'), { worker: 1, generationPid: other, code: 0 })
  for (const { name, kept, fresh } of loads) {
    const [{ failures, opened }, freshly] = [await kept.stop(), await fresh.stop()]
    t.same([failures, freshly.failures], [{}, {}], name)
    t.equal(opened, 4, `${name}: on the same connections`)
  }

  const killed = await workerOnSocket(0)
  process.kill(killed, 'SIGKILL')
  await server.line('worker died')
  t.match(await ask({ path: socket }), { worker: 1 }, 'its sibling answers at once')
  await server.line('worker ready', ({ worker }) => worker === 0)
  t.not(await workerOnSocket(0), killed)
  t.match(
    (await new Client({ host: '127.0.0.1', port: metrics }).get('/', { Connection: 'close' })).status,
    200
  )
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.notOk(existsSync(socket), 'the last one removes the file')

  async function workerOnSocket(index: number): Promise<number> {
    for (;;) {
      const { worker, pid } = await ask({ path: socket })
      if (worker === index) return pid
    }
  }
})

t.test('what a new release does not want any more is closed, when none of its workers does', async t => {
  const listen = [{ port: 0, host: '127.0.0.1' }]
  const options = { claimTimeout: 300 }
  const release = { listen: [...listen, { path: 'old.sock' }, { path: 'one.sock' }], options }
  const server = startServer(t, { release, supervised: ['--workers', '2'] })
  await server.port()
  server.deploy({ listen: [...listen, { path: 'one.sock', worker: 1 }], options })
  const { unclaimed, generationPid } = await server.reload()
  t.same(unclaimed, [`unix:${path.join(server.directory, 'old.sock')}`])
  await server.line('generation retired')
  const isThere = (name: string) => existsSync(path.join(server.directory, name))
  while (isThere('old.sock')) await new Promise(setImmediate)
  t.ok(isThere('one.sock'), 'and not what another worker has')
  t.match(await ask({ path: path.join(server.directory, 'one.sock') }), { worker: 1, generation: 2 })
  server.kill('SIGTERM')
  await server.exit()
  await ends(generationPid)
  t.notOk(isThere('one.sock'))
})
