import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import * as undici from 'undici'
import { createHttp1 } from '../../../lib/rehearsal/http1.js'
import { parseRequests } from '../../../lib/rehearsal/requests.js'

const [get, post] = parseRequests(['GET /', 'POST / {"n":1}']) as [any, any]

const kindOf = (asked: Promise<unknown>) =>
  asked.then(
    () => 'none',
    ({ kind }) => kind
  )

/** A real server that the test plays, and one connection to it. */
async function setUp(t: Test, listener: RequestListener, some = {}) {
  const sockets: Socket[] = []
  const server = createServer(listener).on('connection', socket => sockets.push(socket))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  let reconnects = 0
  const target = { origin: `http://127.0.0.1:${port}`, protocol: 'http/1.1', bound: '' } as const
  const options = { timeout: 60_000, isFresh: false, onReconnect: () => reconnects++, ...some }
  const connection = createHttp1(undici, target, options)
  t.teardown(() => {
    connection.destroy()
    server.close().closeAllConnections()
  })
  return { connection, server, sockets, reconnects: () => reconnects }
}

t.test('it keeps its connection, sends a body, and tells status and cookies', async t => {
  const { connection, sockets, reconnects } = await setUp(t, async (request, response) => {
    const chunks = await request.toArray()
    response.setHeader('set-cookie', ['a=1', 'b=2'])
    response.writeHead(request.method === 'POST' ? 201 : 200).end(Buffer.concat(chunks))
  })
  t.equal(connection.current(), undefined)
  t.same(await connection.ask(get, {}), { status: 200, cookies: ['a=1', 'b=2'] })
  t.match(await connection.ask(post, post.headers), { status: 201 })
  t.not(connection.current(), undefined)
  t.same([sockets.length, reconnects()], [1, 0])
})

t.test('it comes again after Connection: close, and that is counted', async t => {
  const { connection, reconnects } = await setUp(t, (_request, response) => {
    response.setHeader('connection', 'close').end()
  })
  await connection.ask(get, {})
  t.equal(connection.current(), undefined)
  await connection.ask(get, {})
  t.equal(reconnects(), 1)
})

t.test('a fresh one connects for each request, and that is not counted', async t => {
  const { connection, sockets, reconnects } = await setUp(t, (_request, response) => response.end(), {
    isFresh: true
  })
  await connection.ask(get, {})
  await connection.ask(get, {})
  t.same([sockets.length, reconnects()], [2, 0])
})

t.test('that the server has closed an idle connection is known', async t => {
  const { connection, sockets } = await setUp(t, (_request, response) => response.end())
  await connection.ask(get, {})
  sockets[0]!.end()
  while (connection.current() !== undefined) await sleep(1)
  t.match(await connection.ask(get, {}), { status: 200 })
})

for (const [name, listener, kind] of [
  ['an end without an answer', (request => request.socket.end()) satisfies RequestListener, 'eof'],
  ['a reset', (request => request.socket.resetAndDestroy()) satisfies RequestListener, 'reset'],
  [
    'an answer that ends in the middle',
    ((request, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('short', () => request.socket.end())
    }) satisfies RequestListener,
    'cut body'
  ],
  [
    'chunks without a last one',
    ((request, response) => response.write('short', () => request.socket.end())) satisfies RequestListener,
    'cut body'
  ]
] as const)
  t.test(`${name} is a failure: ${kind}`, async t => {
    const { connection } = await setUp(t, listener)
    t.equal(await kindOf(connection.ask(get, {})), kind)
  })

t.test('no answer is a failure: timeout', async t => {
  const { connection } = await setUp(t, () => {}, { timeout: 50 })
  t.equal(await kindOf(connection.ask(get, {})), 'timeout')
})

t.test('nobody who listens is a failure: refused', async t => {
  const { connection, server } = await setUp(t, () => {})
  await new Promise(resolve => server.close(resolve))
  t.equal(await kindOf(connection.ask(get, {})), 'refused')
})
