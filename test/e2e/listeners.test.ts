import { spawn } from 'node:child_process'
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

const ask = async (address: net.NetConnectOpts, path = '/') => {
  const client = new Client(address)
  const { body } = await client.get(path)
  client.close()
  return JSON.parse(body.toString())
}

t.test('port 0 keeps its port, also of two instances', async t => {
  const server = startServer(t, { release: { listen: [{ port: 0 }, { port: 0 }] } })
  const ports = [
    (await server.line('listening on')).bound[0].port,
    (await server.line('listening on')).bound[0].port
  ]
  for (const generation of [2, 3]) {
    await server.reload()
    await server.line('generation retired')
    for (const [index, port] of ports.entries()) {
      t.match(await ask({ host: '127.0.0.1', port }), { generation, index })
    }
  }
})

t.test('localhost is served on 127.0.0.1 and on ::1 after every upgrade', async t => {
  const release = { dualLocalhost: true, listen: [{ port: 0, host: 'localhost' }] }
  const server = startServer(t, { release })
  const { bound } = await server.line('listening on')
  t.same(bound.map(({ address }: { address: string }) => address).sort(), ['127.0.0.1', '::1'])
  const { port } = bound[0]
  const loads = ['127.0.0.1', '::1'].map(host => startLoad(t, { host, port }, { clients: 5, pause: [0, 10] }))
  for (const _ of [2, 3, 4]) {
    await sleep(200)
    await server.reload()
    await server.line('generation retired')
  }
  for (const load of loads) t.same((await load.stop()).failures, {})
  for (const host of ['127.0.0.1', '::1']) t.match(await ask({ host, port }), { generation: 4 })
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('a request on the second server for localhost is waited for, and its hooks run after it', async t => {
  const server = startServer(t, {
    release: { dualLocalhost: true, listen: [{ port: 0, host: 'localhost' }] }
  })
  const { bound } = await server.line('listening on')
  const client = new Client({ host: '::1', port: bound[0].port })
  const slow = client.get('/slow?ms=700')
  await sleep(200)
  server.kill('SIGTERM')
  t.equal((await slow).headers.connection, 'close')
  t.match(await server.line('onClose hook'), { inFlight: 0 })
})

t.test('a Unix socket exists and answers at every instant', async t => {
  const release = { listen: [{ path: 'app.sock' }] }
  const server = startServer(t, { release })
  t.match(await server.line('listening on'), { bound: ['app.sock'] })
  t.match(await server.line(/^Server listening/), { msg: 'Server listening at app.sock' })
  const socketPath = path.join(server.directory, 'app.sock')
  const running = startLoad(t, { path: socketPath }, { clients: 5, fresh: true, pause: [0, 10] })
  for (const generation of [2, 3, 4]) {
    await server.reload()
    await server.line('generation retired')
    t.match(await ask({ path: socketPath }), { generation })
  }
  t.same((await running.stop()).failures, {})
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.notOk(existsSync(socketPath), 'the last one removes the file')
})

t.test('the stale Unix socket of a crashed process is taken over', async t => {
  const release = { listen: [{ path: '/tmp/fgu-stale.sock', readableAll: true, writableAll: true }] }
  const crashed = startServer(t, { release })
  await crashed.line('listening on')
  crashed.kill('SIGKILL')
  await crashed.exit()
  t.ok(existsSync('/tmp/fgu-stale.sock'))
  const server = startServer(t, { release })
  await server.line('listening on')
  t.equal(statSync('/tmp/fgu-stale.sock').mode & 0o666, 0o666, 'with the mode that was asked for')
  t.match(await ask({ path: '/tmp/fgu-stale.sock' }), { pid: server.pid })
  server.kill('SIGTERM')
  await server.exit()
})

t.test('a live Unix socket of a stranger, or another file, is not taken over', async t => {
  const server = startServer(t, { release: { listen: [{ path: '/tmp/fgu-live.sock' }] } })
  await server.line('listening on')
  const second = startServer(t, { release: { listen: [{ path: '/tmp/fgu-live.sock' }] } })
  t.match(await second.exit(), { code: 1 })
  t.match(await second.saying(/EADDRINUSE.*fgu-live.sock/), /EADDRINUSE.*fgu-live.sock/)
  t.match(await ask({ path: '/tmp/fgu-live.sock' }), { pid: server.pid })
  server.kill('SIGTERM')
  await server.exit()

  const third = startServer(t, { release: { listen: [{ path: 'release.json' }] } })
  t.match(await third.exit(), { code: 1 })
  t.match(await third.saying(/EADDRINUSE.*release.json/), /EADDRINUSE.*release.json/)
})

t.test('a plain http server beside the instances is inherited too, and a hook may close it', async t => {
  const release = { listen: [{ port: 0 }], metrics: { port: 0, host: '127.0.0.1' } }
  const server = startServer(t, { release })
  const { port } = (await server.line('metrics listening on')).bound
  const metrics = async () => {
    const client = new Client({ host: '127.0.0.1', port })
    const { body } = await client.get('/')
    client.close()
    return body.toString()
  }
  t.equal(await metrics(), `metrics of ${server.pid}\n`)
  for (const _ of [2, 3]) {
    const { pid } = await server.reload()
    t.match(await server.line('generation retired'), { code: 0 })
    t.equal(await metrics(), `metrics of ${pid}\n`)
  }
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
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

t.test('ready() of an application that listens by a server of its own', async t => {
  const options = { fixture: 'own-server.js', supervised: [], release: {} }
  const server = startServer(t, options)
  const address = { host: '127.0.0.1', port: await server.port() }
  for (const generation of [2, 3]) {
    t.match(await server.reload(), { generation })
    await server.line('generation retired')
    t.match(await ask(address), { generation })
  }
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

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

t.test('the same listener by another name is taken over', async t => {
  const [port] = await freePorts(1)
  const server = startServer(t, { release: { listen: [{ port, host: 'localhost' }] } })
  await server.line('listening on')
  for (const host of ['127.0.0.1', 'localhost']) {
    server.deploy({ listen: [{ port, host }] })
    await server.reload()
    await server.line('generation retired')
  }
  t.match(await ask({ host: '127.0.0.1', port }), { generation: 3 })
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
  const release = '/tmp/fgu-fd.json'
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
