/** What clients see of a generation on its way out, whichever way that is. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { resolveOptions } from '../../lib/options.js'
import { makeCertificate } from '../helper/certificate.ts'
import { Client } from '../helper/http-client.ts'
import { type Server, startServer } from '../helper/server.ts'
import { active, ask, inFlight } from '../helper/supervised.ts'

/** Every way out: how it is begun, and what says that it has begun. */
const waysOut: Record<string, (server: Server, client: Client) => Promise<unknown>> = {
  'an upgrade': async server => {
    server.kill('SIGHUP')
    await server.line('signal aborted')
  },
  SIGTERM: async server => {
    server.kill('SIGTERM')
    await server.line('signal aborted')
  },
  'fastify.close()': async (server, client) => {
    await client.post('/close', '', { Connection: 'close' })
    await server.line('signal aborted')
  }
}

interface Address {
  readonly host: string
  readonly port: number
}

/** Without handover, which has stories of its own: what is told here holds for connections that stay. */
async function start(t: Test, { options, ...release }: { options?: object; [key: string]: unknown } = {}) {
  const server = startServer(t, {
    release: {
      listen: [{ port: 0, host: '127.0.0.1' }],
      options: { handover: false, ...options },
      ...release
    }
  })
  const address = { host: '127.0.0.1', port: await server.port() }
  return { server, address, client: () => new Client(address) }
}

/** Requests that are under way when the server begins to go, and what is said of each of them. */
interface Story {
  readonly title: string
  /** How many requests the server has then. */
  readonly active: number
  /** @returns what follows once the server goes */
  readonly begin: (client: () => Client, address: Address) => Promise<(t: Test) => Promise<void>>
}

const stories: Story[] = [
  { title: 'a response that began before it carries Connection: close', active: 11, begin: responses },
  {
    title: 'pipelined requests are all answered, and the last answer alone carries close',
    active: 1,
    begin: pipeline
  },
  { title: 'a request whose body comes in a second segment is answered', active: 2, begin: segments },
  { title: 'a 64 MB download and a slow upload end whole', active: 2, begin: transfers }
]

for (const [name, leave] of Object.entries(waysOut)) {
  t.test(`on ${name}`, async t => {
    const { server, address, client } = await start(t)
    const begun = []
    for (const { title, begin } of stories) begun.push({ title, end: await begin(client, address) })
    await active(
      address.port,
      stories.reduce((sum, story) => sum + story.active, 0)
    )
    await leave(server, client())
    for (const { title, end } of begun) await t.test(title, end)
    await server.line('onClose hook')
  })
}

async function responses(client: () => Client) {
  const forms = ['object', 'flat', 'pairs', 'none'].flatMap(form => [
    `/raw?ms=drain&form=${form}`,
    `/raw?ms=drain&form=${form}&message=1`
  ])
  const paths = ['/slow?ms=drain', '/hijack?ms=drain', '/stream?ms=drain', ...forms]
  const answers = paths.map(path => client().get(path))
  return async (t: Test) => {
    for (const [index, path] of paths.entries()) {
      const { status, headers, body } = await answers[index]!
      t.match({ status, connection: headers.connection }, { status: 200, connection: 'close' }, path)
      if (path.includes('form=flat')) t.equal(headers['set-cookie'], 'a=1, b=2', 'no header is lost')
      if (path.startsWith('/stream')) t.equal(body.toString(), 'part 0\npart 1\npart 2\npart 3\npart 4\n')
    }
  }
}

async function pipeline(client: () => Client) {
  const before = client()
  const socket = await before.socket()
  const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: test\r\n\r\n`
  socket.write(
    request('/slow?ms=drain') +
      request('/hijack?ms=10') +
      request('/slow?ms=drain') +
      request('/raw?form=none&ms=drain')
  )
  return async (t: Test) => {
    const connections = []
    for (let index = 0; index < 4; index++) connections.push((await before.response()).headers.connection)
    t.same(connections, ['keep-alive', 'keep-alive', 'keep-alive', 'close'])
  }
}

async function segments(client: () => Client) {
  const split = client()
  const socket = await split.socket()
  socket.write(
    'POST / HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\n'
  )
  const half = client()
  const halfSocket = await half.socket()
  halfSocket.write('GET / HTTP/1.1\r\nHo')
  return async (t: Test) => {
    socket.write('a=1')
    halfSocket.write('st: test\r\n\r\n')
    t.equal((await split.response()).headers.connection, 'close')
    t.equal((await half.response()).headers.connection, 'close')
  }
}

async function transfers(_client: () => Client, address: Address) {
  const size = 64 * 1024 * 1024
  const download = http.get({
    ...address,
    path: `/download?size=${size}`,
    agent: new http.Agent({ keepAlive: true })
  })
  const [response] = (await once(download, 'response')) as [http.IncomingMessage]
  const { socket } = response
  let received = 0
  let wrong = 0
  response.on('data', (chunk: Buffer) => {
    for (let index = 0; index < chunk.length; index += 997) {
      if (chunk[index] !== ((received + index) % 65_536) % 251) wrong++
    }
    received += chunk.length
    response.pause()
    setTimeout(() => response.resume(), 1)
  })
  const downloaded = once(response, 'end')
  const upload = http.request({
    ...address,
    path: '/upload',
    method: 'POST',
    headers: { 'Content-Type': 'application/octet-stream' }
  })
  const hash = createHash('sha256')
  const send = (part: number) => {
    const chunk = Buffer.alloc(100_000, part)
    hash.update(chunk)
    upload.write(chunk)
  }
  for (let part = 0; part < 5; part++) send(part)
  return async (t: Test) => {
    for (let part = 5; part < 10; part++) {
      await sleep(50)
      send(part)
    }
    upload.end()
    const [answer] = (await once(upload, 'response')) as [http.IncomingMessage]
    t.equal(answer.headers.connection, 'close')
    t.match(JSON.parse(Buffer.concat(await answer.toArray()).toString()), {
      size: 1_000_000,
      hash: hash.digest('hex')
    })
    await downloaded
    t.equal(received, size)
    t.equal(wrong, 0)
    socket.destroy() // it has promised keep-alive
  }
}

t.test('what is open when a drain begins, and is no request yet or no more', async t => {
  const { server, client, address } = await start(t)
  const [fresh, idle, invalid] = [client(), client(), await client().socket()]
  await fresh.socket()
  await idle.get('/')
  const slow = inFlight(address.port, 'drain')
  await slow.begun
  invalid.write('GET /invalid-header?ms=drain HTTP/1.1\r\nHost: test\r\n\r\n')
  const invalidAnswer = once(invalid, 'data')
  await active(address.port, 2)
  await hasFresh(address.port)

  await t.test('connections() counts by state', async t => {
    t.same(await ask(address.port, '/open'), { count: { fresh: 1, idle: 1, active: 3, detached: 0 } })
  })

  server.kill('SIGHUP')
  await server.line('signal aborted')
  t.match(await server.line('draining'), { connections: { fresh: 1, idle: 1, active: 2, detached: 0 } })

  await t.test('a fresh and an idle connection are served once more', async t => {
    for (const each of [fresh, idle]) {
      const { status, headers, body } = await each.get('/')
      t.match({ status, connection: headers.connection }, { status: 200, connection: 'close' })
      t.match(JSON.parse(body.toString()), { generation: 1 })
    }
    t.equal(await slow.failure, 'none')
  })

  await t.test('the answer to an error in the head of a response carries Connection: close too', async t => {
    t.match(String(await invalidAnswer), /^HTTP\/1.1 500 .*Connection: close/s)
  })
  await server.line('generation retired')

  await t.test('when nobody follows', async t => {
    const [idle, busy, fresh] = [client(), client(), client()]
    await idle.get('/')
    const ended = once(await idle.socket(), 'end')
    const socket = await busy.socket()
    socket.write('GET /stream?ms=0 HTTP/1.1\r\nHost: test\r\n\r\n')
    await once(socket, 'data') // the head is out
    const closed = once(socket, 'end')
    await fresh.socket()
    await hasFresh(address.port)
    const begun = performance.now()
    server.kill('SIGTERM')
    await server.line('signal aborted', ({ reason }) => reason === 'close')
    t.match(await fresh.get('/'), { headers: { connection: 'close' } }, 'a fresh one is served')
    await ended
    t.ok(performance.now() - begun < 4_000, 'an idle one is closed at once')
    const { headers, body } = await busy.response()
    t.equal(headers.connection, 'keep-alive')
    t.match(body.toString(), /part 4/)
    await closed
    t.pass('a keep-alive response that was begun is followed by an end, not by a reset')
    t.same(await server.exit(), { code: 0, signal: null })
    t.ok(performance.now() - begun < 4_000, 'not after the five seconds of a fresh one')
  })
})

t.test('at the deadline what is left is counted, logged and ended with FIN', async t => {
  const { server, client, address } = await start(t, { options: { drainTimeout: 500 } })
  const idle = client()
  await idle.get('/')
  const ended = once(await idle.socket(), 'end')
  const request = inFlight(address.port, 25_000)
  await request.begun
  server.kill('SIGHUP')
  t.match(await server.line(/drain timed out/), {
    reason: 'upgrade',
    connections: { fresh: 0, idle: 1, active: 1, detached: 0 }
  })
  t.equal(await request.failure, 'eof')
  await ended
  const { finished, cut } = await server.line('drained')
  t.equal(cut, 2)
  t.ok(finished >= 0, 'what is cut is not counted as finished')
  t.match(await server.line('generation retired'), { generation: 1, cut: 2, cutIdle: 1 })
})
t.test(
  'headersTimeout and requestTimeout stay in force during a drain, whatever return503OnClosing says',
  async t => {
    const { server, client, address } = await start(t, {
      fastify: {
        return503OnClosing: false,
        requestTimeout: 600,
        http: { connectionsCheckingInterval: 100, headersTimeout: 500 }
      }
    })
    const [half, idle] = [client(), client()]
    await idle.get('/')
    ;(await half.socket()).write('GET / HTTP/1.1\r\nHo')
    await active(address.port, 1)
    server.kill('SIGHUP')
    await server.line('signal aborted')
    t.match(await idle.get('/'), { status: 200, headers: { connection: 'close' } })
    await t.rejects(half.response(), { message: /408/ })
    await server.line('generation retired')
  }
)

t.test(
  'the wait is logged again and again, and an idle connection ends with its keep-alive time',
  async t => {
    const { server, client } = await start(t, { fastify: { keepAliveTimeout: 7_000 } })
    const idle = client()
    await idle.get('/')
    const ended = once(await idle.socket(), 'end')
    server.kill('SIGHUP')
    t.match(await server.line('draining'), { connections: { idle: 1 } })
    t.match(await server.line('draining'), { connections: { idle: 1 }, ms: Number })
    await ended
    await server.line('generation retired')
  }
)

t.test('onClose hooks of one instance run after the last request of another', async t => {
  const server = startServer(t, { release: { listen: [{ port: 0 }, { port: 0 }] } })
  await server.line('listening on')
  const { bound } = await server.line('listening on')
  const request = inFlight(bound[0].port, 'drain')
  await request.begun
  server.kill('SIGTERM')
  let answered = false
  void request.answer.then(() => (answered = true))
  await server.line('onClose hook')
  t.ok(answered)
  await server.line('onClose hook')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('onClose hooks that hang are given up after closeTimeout, with exit code 1', async t => {
  const { server } = await start(t, { closeTime: 60_000, options: { drainTimeout: 100, closeTimeout: 200 } })
  server.kill('SIGTERM')
  t.match(await server.line('closing the application failed'), { err: { message: /closeTimeout/ } })
  t.same(await server.exit(), { code: 1, signal: null })
})
for (const supervised of [undefined, []]) {
  const mode = supervised ? 'supervised' : 'standalone'
  t.test(`${mode}: the longest times that are allowed cut nothing short`, async t => {
    let longest = 0
    try {
      resolveOptions({ drainTimeout: Number.POSITIVE_INFINITY })
    } catch (error) {
      longest = Number(/to (\d+)/.exec((error as Error).message)![1])
    }
    const release = { closeTime: 100, options: { drainTimeout: longest, closeTimeout: longest } }
    const server = startServer(t, { release, ...(supervised && { supervised }) })
    const port = await server.port()
    const first = inFlight(port, 'drain')
    await first.begun
    await server.reload()
    t.equal(await first.failure, 'none')
    t.match(await server.line('generation retired'), { code: 0 })
    const second = inFlight(port, 'drain')
    await second.begun
    server.kill('SIGTERM')
    t.equal(await second.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.notMatch(server.stderr(), /TimeoutOverflowWarning/)
  })
}

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

/** A connection without a request has arrived, and the one that asks is the only other one. */
async function hasFresh(port: number): Promise<void> {
  while ((await ask(port, '/open')).count.fresh === 0) await sleep(10)
}

async function ports(server: Server): Promise<number[]> {
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
