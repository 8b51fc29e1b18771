/** Instances whose server doesn't listen: one in front feeds it. */
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net, { type AddressInfo, type Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { connectionsOf } from '../../lib/connections/connections.js'
import gracefulUpgrade from '../../lib/index.js'
import type { GracefulUpgradeOptions } from '../../lib/options/given.js'

/** Of SIGHUP others are taken off. */
const signals = ['SIGTERM', 'SIGINT'] as const

function heard(): number[] {
  return signals.map(signal => process.listenerCount(signal))
}

interface Fed {
  readonly app: FastifyInstance
  readonly front: net.Server
  connect(): Promise<Socket>
}

/** It is fed behind the first byte. */
async function fed(t: Test, options: GracefulUpgradeOptions = {}): Promise<Fed> {
  const app = Fastify()
  await app.register(gracefulUpgrade, options)
  app.get('/', async () => 'hello')
  await app.ready()
  const front = net.createServer(socket => {
    socket.once('readable', () => app.server.emit('connection', socket))
  })
  await once(front.listen(0, '127.0.0.1'), 'listening')
  app.gracefulUpgrade.ready()
  const clients: Socket[] = []
  t.teardown(async () => {
    for (const client of clients) client.destroy()
    front.close()
    await app.close()
  })
  return {
    app,
    front,
    async connect() {
      const client = net.connect((front.address() as AddressInfo).port, '127.0.0.1')
      clients.push(client)
      await Promise.all([once(client, 'connect'), once(front, 'connection')])
      return client
    }
  }
}

async function get(client: Socket): Promise<string> {
  client.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
  return String((await once(client, 'data'))[0])
}

t.test('ready() does what listen() does, and close() takes it back', async t => {
  const quiet = heard()
  const { app } = await fed(t)
  t.equal(app.gracefulUpgrade.state, 'serving')
  t.same(
    heard(),
    quiet.map(count => count + 1)
  )
  await app.close()
  t.same(heard(), quiet)
})

t.test('ready() while nothing listens installs nothing', async t => {
  const quiet = heard()
  const app = Fastify()
  await app.register(gracefulUpgrade)
  await app.ready()
  app.gracefulUpgrade.ready()
  t.same(heard(), quiet)
  t.equal(app.gracefulUpgrade.state, 'starting')
  await app.close()
})

t.test('a front that has stopped may hand on what it has accepted, and close() waits for it', async t => {
  const { app, front, connect } = await fed(t)
  const client = await connect()
  front.close()
  const closed = app.close()
  await once(app.gracefulUpgrade.signal, 'abort')
  await new Promise(setImmediate)
  t.match(await get(client), /^HTTP\/1.1 200 OK\r\n.*Connection: close/is)
  await closed
})

t.test('close() ends an idle connection at once, and a WebSocket or the like at the deadline', async t => {
  const { app, connect } = await fed(t, { drainTimeout: 500 })
  app.server.on('upgrade', (_request, socket) => {
    socket.on('error', () => {})
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n')
  })
  const [idle, upgraded] = [await connect(), await connect()]
  await get(idle)
  upgraded.write('GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n')
  await once(upgraded, 'data')
  t.same(app.gracefulUpgrade.connections(), { fresh: 0, idle: 1, active: 0, detached: 1 })
  const ended: string[] = []
  idle.resume().on('end', () => ended.push('idle'))
  upgraded.resume().on('end', () => ended.push('upgraded'))
  await app.close()
  ended.push('application')
  t.same(ended, ['idle', 'upgraded', 'application'])
})

t.test('what is at rest is known of a server that never listens, and still if it does', async t => {
  const server = http.createServer((_request, response) => response.end('hello'))
  const connections = connectionsOf(server)
  const states = () => [...connections.states()].map(([, state]) => state)
  const front = net.createServer(socket => server.emit('connection', socket))
  t.teardown(() => {
    front.close()
    server.close()
  })
  await once(front.listen(0, '127.0.0.1'), 'listening')
  const client = net.connect((front.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => client.destroy())
  await get(client)
  t.same(states(), ['idle'])
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.same(states(), ['idle'])
  client.write('GET / HT')
  const [socket] = connections.sockets as Set<Socket>
  const before = socket!.bytesRead
  while (socket!.bytesRead === before) await new Promise(setImmediate)
  t.same(states(), ['active'])
})

t.test('HTTP/2 sessions of a server that is fed are told to go, and answered before', async t => {
  const app = Fastify({ http2: true })
  await app.register(gracefulUpgrade)
  app.get('/', async () => {
    const { signal } = app.gracefulUpgrade
    if (!signal.aborted) await once(signal, 'abort')
    return 'hello'
  })
  await app.ready()
  const front = net.createServer(socket => app.server.emit('connection', socket))
  t.teardown(() => front.close())
  await once(front.listen(0, '127.0.0.1'), 'listening')
  app.gracefulUpgrade.ready()
  const session = http2.connect(`http://127.0.0.1:${(front.address() as AddressInfo).port}`)
  t.teardown(() => session.destroy())
  const request = session.request({ ':path': '/' }).resume()
  while (app.gracefulUpgrade.connections().active === 0) await new Promise(setImmediate)
  const goaway = once(session, 'goaway')
  const closed = app.close()
  t.match(await once(request, 'response'), [{ ':status': 200 }])
  t.match(await goaway, [http2.constants.NGHTTP2_NO_ERROR])
  await closed
})
