/** What a server listens on, and what becomes of that in upgrades, deaths and at its end. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helper/folder.ts'
import { freePorts } from '../helper/free-port.ts'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'
import { active, half, untilRefused } from '../helper/supervised.ts'

const ask = async (address: net.NetConnectOpts, path = '/') => {
  const client = new Client(address)
  const { body } = await client.get(path)
  client.close()
  return JSON.parse(body.toString())
}

t.test('listeners of every kind are there and answer at every instant of two upgrades', async t => {
  const release = {
    dualLocalhost: true,
    listen: [{ port: 0, host: '127.0.0.1' }, { port: 0, host: 'localhost' }, { path: 'app.sock' }],
    metrics: { port: 0, host: '127.0.0.1' }
  }
  const server = startServer(t, { release })
  const bound: any[] = []
  for (const _ of release.listen) bound.push((await server.line('listening on')).bound)
  const socket = { path: path.join(server.directory, 'app.sock') }
  t.same(bound[1].map(({ address }: { address: string }) => address).sort(), ['127.0.0.1', '::1'])
  t.same(bound[2], ['app.sock'])
  t.match(await server.line(/^Server listening at app/), { msg: 'Server listening at app.sock' })
  const addresses = {
    'port 0': { host: '127.0.0.1', port: bound[0][0].port, index: 0 },
    'localhost on 127.0.0.1': { host: '127.0.0.1', port: bound[1][0].port, index: 1 },
    'localhost on ::1': { host: '::1', port: bound[1][0].port, index: 1 },
    'a Unix socket': { ...socket, index: 2 }
  }
  const loads = Object.entries(addresses).map(([name, address]) => {
    const running = startLoad(t, address, { clients: 5, fresh: name === 'a Unix socket', pause: [0, 10] })
    return { name, ...running }
  })
  const { port } = (await server.line('metrics listening on')).bound
  const metrics = async () => {
    const client = new Client({ host: '127.0.0.1', port })
    const { body } = await client.get('/')
    client.close()
    return body.toString()
  }
  t.equal(await metrics(), `metrics of ${server.pid}\n`, 'also one of a plain http server')
  for (const generation of [2, 3]) {
    const { pid } = await server.reload()
    t.match(await server.line('generation retired'), { code: 0 }, 'a hook may close the plain server')
    for (const [name, { index, ...address }] of Object.entries(addresses))
      t.match(await ask(address), { generation, index }, name)
    t.equal(await metrics(), `metrics of ${pid}\n`)
  }
  for (const { name, stop } of loads) t.same((await stop()).failures, {}, name)
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.notOk(existsSync(socket.path), 'the last one removes the file')
})

t.test('a request on the second server for localhost is waited for, and its hooks run after it', async t => {
  const server = startServer(t, {
    release: { dualLocalhost: true, listen: [{ port: 0, host: 'localhost' }] }
  })
  const { bound } = await server.line('listening on')
  const client = new Client({ host: '::1', port: bound[0].port })
  const slow = client.get('/slow?ms=drain')
  await active(bound[0].port, 1)
  server.kill('SIGTERM')
  t.equal((await slow).headers.connection, 'close')
  t.match(await server.line('onClose hook'), { inFlight: 0 })
})

t.test('the stale Unix socket of a crashed process is taken over', async t => {
  const socket = { path: path.join(temporaryFolder(t), 'stale.sock') }
  const release = { listen: [{ ...socket, readableAll: true, writableAll: true }] }
  const crashed = startServer(t, { release })
  await crashed.line('listening on')
  crashed.kill('SIGKILL')
  await crashed.exit()
  t.ok(existsSync(socket.path))
  const server = startServer(t, { release })
  await server.line('listening on')
  t.equal(statSync(socket.path).mode & 0o666, 0o666, 'with the mode that was asked for')
  t.match(await ask(socket), { pid: server.pid })
  server.kill('SIGTERM')
  await server.exit()
})

t.test('a live Unix socket of a stranger, or another file, is not taken over', async t => {
  const socket = { path: path.join(temporaryFolder(t), 'live.sock') }
  const server = startServer(t, { release: { listen: [socket] } })
  await server.line('listening on')
  const second = startServer(t, { release: { listen: [socket] } })
  t.match(await second.exit(), { code: 1 })
  t.match(await second.saying(/EADDRINUSE.*live.sock/), /EADDRINUSE.*live.sock/)
  t.match(await ask(socket), { pid: server.pid })
  server.kill('SIGTERM')
  await server.exit()

  const third = startServer(t, { release: { listen: [{ path: 'release.json' }] } })
  t.match(await third.exit(), { code: 1 })
  t.match(await third.saying(/EADDRINUSE.*release.json/), /EADDRINUSE.*release.json/)
})

t.test('a new version may drop a listener and add one', async t => {
  const options = { claimTimeout: 300 }
  const [kept, dropped, added] = await freePorts(3)
  const server = startServer(t, {
    release: { options, listen: [{ port: kept }, { port: dropped }, { path: 'old.sock' }] }
  })
  for (const _ of [0, 1, 2]) await server.line('listening on')
  for (const generation of [2, 3]) {
    server.deploy({ options, listen: [{ port: kept }, { port: added }] })
    const ready = await server.reload()
    if (generation === 2) {
      t.same(ready.unclaimed, [`tcp:localhost:${dropped}`, `unix:${path.join(server.directory, 'old.sock')}`])
    }
    await server.line('generation retired')
    t.match(await ask({ host: '127.0.0.1', port: kept }), { generation, index: 0 })
    t.match(await ask({ host: '127.0.0.1', port: added }), { generation, index: 1 })
    t.equal(await refusal(ask({ host: '127.0.0.1', port: dropped })), 'refused')
    t.notOk(existsSync(path.join(server.directory, 'old.sock')))
  }
})

t.test(
  'a listener that the new version has dropped refuses while the old one answers its last request',
  async t => {
    const [kept, dropped] = await freePorts(2)
    const options = { claimTimeout: 100 }
    const listen = [{ port: kept }, { port: dropped }]
    const server = startServer(t, { supervised: [], release: { options, listen } })
    await server.port()
    const request = half(kept!)
    await request.begun
    server.deploy({ options, listen: [{ port: kept }] })
    t.match(await server.reload(), { unclaimed: [`tcp:localhost:${dropped}`] })
    t.equal(await Promise.race([request.failure, untilRefused(dropped!)]), undefined)
    await request.finish()
    t.equal(await request.failure, 'none')
  }
)

t.test(
  'a master that has no descriptor left for a listener of the new version stays with the old one',
  { skip: process.platform !== 'linux' },
  async t => {
    const [port] = await freePorts(1)
    const release = { listen: [{ host: '127.0.0.1', port: port! }] }
    const server = startServer(t, { release })
    const limitDescriptors = (count: number) =>
      execFileSync('prlimit', [`--pid=${server.pid}`, `--nofile=${count}:`])
    await server.port()
    server.deploy({ ...release, boot: 'held' })
    server.kill('SIGHUP')
    await server.line('generation spawned')
    limitDescriptors(3) // it keeps those that it has, and gets no other
    server.deploy(release)
    t.match(await server.line('upgrade failed'), {
      err: { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: /no descriptor left for tcp:127\.0\.0\.1/ }
    })
    limitDescriptors(1_000)
    await server.reload()
    await server.line('generation retired')
    t.match(await ask({ host: '127.0.0.1', port }), { generation: 3 })
    t.match(await server.reload(), { generation: 4 })
  }
)

t.test('listen({ path, port: undefined }) is what Node.js makes of it', async t => {
  const server = startServer(t, { release: { listen: [{ path: 'app.sock', withPort: true }] } })
  t.match(await server.line('listening on'), { bound: [{ port: Number }] })
})

t.test('a relative Unix path in a deep directory', async t => {
  const deep = path.join(temporaryFolder(t), 'd'.repeat(60), 'e'.repeat(60))
  mkdirSync(deep, { recursive: true })
  const inner = startServer(t, { cwd: deep, release: { listen: [{ path: 's.sock' }] } })
  await inner.line('listening on')
  t.match(await inner.reload(), { generation: 2 })
})

t.test('a new version that says that it listens on all it wants is not waited for', async t => {
  const options = { claimTimeout: 600_000 }
  const [kept, dropped] = await freePorts(2)
  const listen = [{ port: kept }]
  const server = startServer(t, { release: { options, listen: [...listen, { port: dropped }] } })
  for (const _ of [0, 1]) await server.line('listening on')
  server.deploy({ options, listen, declaresReady: 'late' })
  t.same((await server.reload()).unclaimed, [`tcp:localhost:${dropped}`])
})

t.test('a new version that says so before it listens at all closes nothing of what it inherits', async t => {
  const release = { listen: (await freePorts(2)).map(port => ({ port })) }
  const server = startServer(t, { release })
  for (const _ of [0, 1]) await server.line('listening on')
  server.deploy({ ...release, declaresReady: 'early' })
  t.same((await server.reload()).unclaimed, [])
  t.match(await server.line('ready() was ignored, as nothing listens yet: call it after listen()'), {
    level: 40
  })
  await server.line('generation retired')
  for (const [index, { port }] of release.listen.entries())
    t.match(await ask({ host: '127.0.0.1', port }), { generation: 2, index })
})

for (const supervised of [undefined, []] as const)
  t.test(
    `ready() of an application with a server of its own, ${supervised ? 'supervised' : 'standalone'}`,
    async t => {
      const options = { fixture: 'own-server.js', release: {}, ...(supervised && { supervised }) }
      const server = startServer(t, options)
      const address = { host: '127.0.0.1', port: await server.port() }
      if (!supervised) await server.line('ready')
      for (const generation of [2, 3]) {
        t.match(await server.reload(), { generation })
        await server.line('generation retired')
        t.match(await ask(address), { generation })
      }
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null })
    }
  )

/** The next version boots, and until it is deployed once more it goes no further; the application has closed a Unix socket. */
async function closeDuringUpgrade(t: Test) {
  const release = { listen: [{ path: 'app.sock' }, { port: 0, host: '127.0.0.1' }] }
  const server = startServer(t, { supervised: [], release })
  await server.port()
  const socket = { path: path.join(server.directory, 'app.sock') }
  server.deploy({ ...release, boot: 'held' })
  server.kill('SIGHUP')
  while ((await ask(socket, '/state')).state !== 'upgrading') await sleep(10)
  await new Client(socket).post('/close', '', { Connection: 'close' })
  await server.line('onClose hook')
  return { server, socket, release }
}

t.test('a Unix socket that is closed while the next version boots keeps its file for that one', async t => {
  const { server, socket, release } = await closeDuringUpgrade(t)
  server.deploy(release)
  await server.line('generation retired')
  t.match(await ask(socket), { generation: 2 })
  server.kill('SIGTERM')
  await server.exit()
  t.notOk(existsSync(socket.path))
})

t.test('the file of a Unix socket is removed after all if the next version fails', async t => {
  const { server, socket } = await closeDuringUpgrade(t)
  t.ok(existsSync(socket.path))
  const { pid } = await server.line('generation spawned', ({ generation }) => generation === 2)
  process.kill(pid, 'SIGKILL')
  await server.line('upgrade failed')
  while (existsSync(socket.path)) await sleep(20)
})

t.test('a Unix socket whose file cannot be removed keeps no request from its answer', async t => {
  const folder = path.join(temporaryFolder(t), 'sockets')
  const socket = { path: path.join(folder, 'app.sock') }
  mkdirSync(folder)
  const server = startServer(t, { release: { listen: [socket] } })
  await server.line('listening on')
  const answer = new Client(socket).get('/slow?ms=drain')
  const begun = async () => (await ask(socket, '/open')).count.active > 1
  while (!(await begun())) await sleep(20)
  renameSync(folder, `${folder}.old`)
  writeFileSync(folder, '')
  server.kill('SIGTERM')
  t.equal((await answer).status, 200)
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('an instance that the application closes takes its listener along', async t => {
  const server = startServer(t, { release: { listen: [{ port: 0 }, { port: 0 }] } })
  const ports = [
    (await server.line('listening on')).bound[0].port,
    (await server.line('listening on')).bound[0].port
  ]
  await server.reload()
  await server.line('generation retired')
  const client = new Client({ host: '127.0.0.1', port: ports[1] })
  await client.post('/close', '')
  client.close()
  await server.line('onClose hook', ({ index, pid }) => index === 1 && pid !== server.pid)
  await sleep(100)
  t.equal(
    await refusal(ask({ host: '127.0.0.1', port: ports[1] })),
    'refused',
    'nobody waits in a queue for ever'
  )
  t.match(await ask({ host: '127.0.0.1', port: ports[0] }), { generation: 2 })
})

t.test('a listening descriptor of the parent (listen({ fd })) is inherited', async t => {
  const parent = net.createServer()
  parent.listen(0, '127.0.0.1')
  await once(parent, 'listening')
  const { port } = parent.address() as net.AddressInfo
  const { fd } = (parent as unknown as { _handle: { fd: number } })._handle
  const fixture = path.resolve(import.meta.dirname, '../fixture/server.js')
  const release = path.join(temporaryFolder(t), 'release.json')
  writeFileSync(release, JSON.stringify({ listen: [{ fd: 3 }] }))
  const child = spawn(process.execPath, [fixture], {
    env: { PATH: process.env.PATH, RELEASE: release, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'inherit', fd]
  })
  t.teardown(() => child.kill('SIGTERM'))
  let output = ''
  child.stdout?.on('data', chunk => (output += chunk))
  const said = async (text: string) => {
    while (!output.includes(text)) await once(child.stdout as NodeJS.EventEmitter, 'data')
  }
  await said('listening on')
  parent.close()
  t.match(await ask({ host: '127.0.0.1', port }), { generation: 1 })
  for (const generation of [2, 3]) {
    child.kill('SIGHUP')
    await said('generation retired')
    output = ''
    t.match(await ask({ host: '127.0.0.1', port }), { generation })
  }
})

/** How a request failed. */
const refusal = (request: Promise<unknown>) =>
  request.then(
    () => 'answered',
    ({ failure }) => failure
  )
