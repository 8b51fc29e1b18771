/** What was found by looking for trouble, and shall not come back. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import http2 from 'node:http2'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import t from 'tap'
import { makeCertificate } from '../helper/certificate.ts'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'

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
    const slow = new Client(address).get('/slow?ms=1500')
    await sleep(100)
    await new Client(address).post('/throw', '', { Connection: 'close' })
    t.match(await server.line('generation died'), { generation: 2, code: 1 })
    t.match(await server.line('generation ready', ({ generation }) => generation === 3), {})
    t.match(await slow, { status: 200 }, 'what it had in hand it has answered')
    t.same((await running.stop()).failures, {}, 'nobody was refused meanwhile')
    t.ok(existsSync(path.join(server.directory, 'app.sock')))
    t.match(await new Client({ path: path.join(server.directory, 'app.sock') }).get('/'), { status: 200 })
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
    t.notOk(existsSync(path.join(server.directory, 'app.sock')))
  }
)

t.test('an error of the code that the first process has retired does not end the master', async t => {
  const server = startServer(t)
  const address = { host: '127.0.0.1', port: await server.port() }
  const late = new Client(address).get('/late-error?ms=drain')
  await sleep(100)
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
  server.deploy({ boot: 'slow', bootTime: 1_000 })
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
  const slow = new Client(address).get('/slow?ms=3500')
  await sleep(200)
  await server.reload()
  t.match(await slow, { status: 200 }, 'as the new version says, not as the first one did')
})

t.test('a listener for data on every connection loses no request in a handover', async t => {
  const server = startServer(t, { release: { spyOnData: true, options: { handover: 'all' } } })
  const address = { host: '127.0.0.1', port: await server.port() }
  const running = startLoad(t, address, { clients: 20, pause: [0, 50] })
  for (const _ of [2, 3, 4]) {
    await sleep(200)
    await server.reload()
    await server.line('generation retired')
  }
  t.same((await running.stop()).failures, {})
})

t.test(
  'app.close() and a signal in the same drain end, with a request on the second server for localhost',
  async t => {
    const server = startServer(t, {
      release: { dualLocalhost: true, listen: [{ port: 0, host: 'localhost' }] }
    })
    const { bound } = await server.line('listening on')
    const slow = new Client({ host: '::1', port: bound[0].port }).get('/slow?ms=1000')
    await sleep(100)
    await new Client({ host: '127.0.0.1', port: bound[0].port }).post('/close', '', { Connection: 'close' })
    await server.line('signal aborted')
    server.kill('SIGTERM')
    t.match(await slow, { status: 200 })
    t.same(await server.exit(), { code: 0, signal: null })
  }
)

t.test('a worker that has closed its instances still hears of the end', async t => {
  const server = startServer(t, { release: { stayAlive: true } })
  const address = { host: '127.0.0.1', port: await server.port() }
  server.deploy({ stayAlive: true })
  await server.reload()
  await server.line('generation retired')
  await new Client(address).post('/close', '', { Connection: 'close' })
  await server.line('onClose hook', ({ pid }) => pid !== server.pid)
  await sleep(100)
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('listen({ path, port: undefined }) is what Node.js makes of it', async t => {
  const server = startServer(t, { release: { listen: [{ path: 'app.sock', withPort: true }] } })
  t.match(await server.line('listening on'), { bound: [{ port: Number }] })
})

t.test('a relative Unix path in a deep directory', async t => {
  const { mkdirSync } = await import('node:fs')
  const server = startServer(t)
  const deep = path.join(server.directory, 'd'.repeat(60), 'e'.repeat(60))
  mkdirSync(deep, { recursive: true })
  const inner = startServer(t, { cwd: deep, release: { listen: [{ path: 's.sock' }] } })
  await inner.line('listening on')
  t.match(await inner.reload(), { generation: 2 })
})

t.test('over TLS nobody gets a 503: neither in a handshake, nor on an HTTP/2 session', async t => {
  for (const way of ['SIGHUP', 'SIGTERM'] as const) {
    const server = startServer(t, { fixture: 'tls.js' })
    makeCertificate(server.directory)
    const [https, h2] = await ports(server)
    // The TCP connection is there when the drain begins, the handshake comes after it.
    const raw = net.connect(https!, '127.0.0.1')
    await once(raw, 'connect')
    const session = http2.connect(`https://127.0.0.1:${h2}`, { rejectUnauthorized: false })
    session.on('error', () => {})
    const first = stream(session, '/slow')
    await sleep(200)
    server.kill(way)
    await server.line('draining')
    const secure = tls.connect({ socket: raw, rejectUnauthorized: false })
    secure.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
    t.match(String(await once(secure, 'data')), /^HTTP\/1.1 200 OK/)
    t.equal(await first, 200, 'the stream that was open is answered')
    secure.destroy()
    session.close()
  }
})

async function ports(server: ReturnType<typeof startServer>): Promise<number[]> {
  return [
    (await server.line('listening on')).bound[0].port,
    (await server.line('listening on')).bound[0].port
  ]
}

async function stream(session: http2.ClientHttp2Session, route: string): Promise<number> {
  const request = session.request({ ':path': route })
  const [headers] = await once(request, 'response')
  request.resume()
  await once(request, 'end')
  return headers[':status']
}
