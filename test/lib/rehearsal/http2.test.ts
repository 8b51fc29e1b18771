import { once } from 'node:events'
import http2, { type ClientHttp2Session, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createHttp2 } from '../../../lib/rehearsal/http2.js'
import { parseRequests } from '../../../lib/rehearsal/requests.js'

const [get, post] = parseRequests(['GET /', 'POST / body']) as [any, any]

const kindOf = (asked: Promise<unknown>) =>
  asked.then(
    () => 'none',
    ({ kind }) => kind
  )

async function setUp(
  t: Test,
  listener: (stream: ServerHttp2Stream, sockets: Socket[]) => void,
  timeout = 60_000
) {
  const sessions: ServerHttp2Session[] = []
  const server = http2.createServer().on('session', session => sessions.push(session))
  const sockets: Socket[] = []
  server.on('connection', socket => sockets.push(socket))
  server.on('stream', stream =>
    listener(
      stream.on('error', () => {}),
      sockets
    )
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  let reconnects = 0
  const target = { origin: `http://127.0.0.1:${port}`, protocol: 'h2', bound: '' } as const
  const connection = createHttp2(target, { timeout, isFresh: false, onReconnect: () => reconnects++ })
  t.teardown(() => {
    connection.destroy()
    for (const session of sessions) session.destroy()
    server.close()
  })
  return { connection, sessions, server, reconnects: () => reconnects }
}

t.test('it keeps its session, and sends a body', async t => {
  const { connection, sessions } = await setUp(t, async stream => {
    const body = Buffer.concat(await stream.toArray()).toString()
    stream.respond({ ':status': body === 'body' ? 201 : 200, 'set-cookie': ['a=1'] })
    stream.end('fine')
  })
  t.same(await connection.ask(get, {}), { status: 200, cookies: ['a=1'] })
  t.match(await connection.ask(post, post.headers), { status: 201 })
  t.equal(sessions.length, 1)
})

t.test('it leaves a session at its GOAWAY, with its answer', async t => {
  const { connection, sessions, reconnects } = await setUp(t, async stream => {
    stream.session!.goaway()
    await sleep(20)
    stream.respond({ ':status': 200 })
    stream.end('fine')
  })
  t.match(await connection.ask(get, {}), { status: 200 })
  t.equal(connection.current(), undefined)
  t.match(await connection.ask(get, {}), { status: 200 })
  t.same([sessions.length, reconnects()], [2, 1])
})

t.test('what is on its way at a first GOAWAY is no request that is lost', async t => {
  const { connection, sessions } = await setUp(t, stream => {
    stream.respond({ ':status': 200 })
    stream.end('fine')
  })
  await connection.ask(get, {})
  const first = connection.current() as ClientHttp2Session
  sessions[0]!.goaway(0, 2 ** 31 - 1)
  await once(first, 'goaway')
  t.equal(connection.current(), first)
  await connection.ask(get, {})
  const second = connection.current() as ClientHttp2Session
  t.not(second, first)
  sessions[1]!.goaway()
  await once(second, 'goaway')
  t.equal(connection.current(), undefined, 'a last one, which says what has come, loses what is on its way')
})

for (const [name, listener, kind] of [
  ['a session that ends', (stream: ServerHttp2Stream) => stream.session!.destroy(), 'eof'],
  [
    'a stream that is refused',
    (stream: ServerHttp2Stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
    'reset'
  ],
  [
    'an answer that is broken off',
    (stream: ServerHttp2Stream) => {
      stream.respond({ ':status': 200 })
      stream.write('short', () => setTimeout(() => stream.destroy(new Error('broken')), 20))
    },
    'cut body'
  ],
  [
    'a connection that ends in the middle of an answer',
    (stream: ServerHttp2Stream, [socket]: Socket[]) => {
      stream.respond({ ':status': 200 })
      stream.write('short', () => setTimeout(() => socket!.destroy(), 20))
    },
    'cut body'
  ],
  [
    'a session that ends in the middle of an answer',
    (stream: ServerHttp2Stream) => {
      stream.respond({ ':status': 200 })
      stream.write('short', () => setTimeout(() => stream.session!.destroy(), 20))
    },
    'cut body'
  ]
] as const)
  t.test(`${name} is a failure: ${kind}`, async t => {
    const { connection } = await setUp(t, listener)
    t.equal(await kindOf(connection.ask(get, {})), kind)
  })

t.test('no answer is a failure: timeout', async t => {
  const { connection } = await setUp(t, () => {}, 50)
  t.equal(await kindOf(connection.ask(get, {})), 'timeout')
})

t.test('nobody who listens is a failure: refused', async t => {
  const { connection, server } = await setUp(t, () => {})
  await new Promise(resolve => server.close(resolve))
  t.equal(await kindOf(connection.ask(get, {})), 'refused')
})
