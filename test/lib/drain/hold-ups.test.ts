import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import http2 from 'node:http2'
import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { connectionsOf } from '../../../lib/connections/connections.js'
import { followSessions } from '../../../lib/connections/http2-sessions.js'
import { holdUpsOf, watchHoldUps } from '../../../lib/drain/hold-ups.js'
import { follow, until } from '../../helper/accepted.ts'

const head = (route: string, more = '') => `GET ${route} HTTP/1.1\r\nHost: a\r\n${more}\r\n`

t.test(
  'requests and other connections of a server that drains have names, and those at rest have none',
  async t => {
    const responses: ServerResponse[] = []
    const server = http.createServer((request, response) => {
      if (request.url === '/quick') return response.end()
      responses.push(response)
    })
    server.on('connect', (_request, socket) => socket.write('HTTP/1.1 200 OK\r\n\r\n'))
    const { connect } = await follow(t, server)
    const old = await connect()
    const idle = await connect()
    const tunnel = await connect()
    const young = await connect()
    const half = await connect()
    await idle.get('/quick')
    tunnel.client.write('CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n')
    await tunnel.said()
    old.client.write(head('/old?secret', 'X-Request-ID: 17\r\n'))
    await until(() => responses.length === 1)
    t.same(holdUpsOf([server]), [], 'nothing drains')

    const stop = watchHoldUps([server], performance.now(), 'X-Request-Id')
    t.teardown(stop)
    const begun = performance.now()
    await until(() => performance.now() - begun > 20)
    young.client.write(head('/young'))
    await until(() => responses.length === 2)
    half.client.write('GET /ha')
    await until(() => half.socket.bytesRead > 0)
    const now = holdUpsOf([server])
    t.match(now, [
      { kind: 'request', method: 'GET', url: '/old', id: '17' },
      { kind: 'request', ms: Number },
      { kind: 'request', method: 'GET', url: '/young' },
      { kind: 'other', ms: Number }
    ])
    t.equal(now.length, 4)
    const [first, , third] = now
    t.ok(first!.ms >= 20, `it counts from the beginning of the drain: ${first!.ms}`)
    t.ok(third!.ms < first!.ms, `one that came later from its own: ${third!.ms}`)

    for (const response of responses) response.end()
    await until(() => holdUpsOf([server]).length === 2)
    t.notOk(
      holdUpsOf([server]).some(({ url }) => url),
      'what is answered holds up nothing'
    )
  }
)

t.test('of HTTP/2 each stream is one, and not its connection', async t => {
  const server = http2.createServer(() => {})
  followSessions(server)
  connectionsOf(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.teardown(() => {
    client.destroy()
    server.close()
  })
  client.on('error', () => {})
  const begun = once(server, 'stream')
  client.request({ ':path': '/old?secret', 'x-request-id': '17' }).on('error', () => {})
  await begun
  const stop = watchHoldUps([server], performance.now(), 'x-request-id')
  t.teardown(stop)
  const next = once(server, 'stream')
  client.request({ ':path': '/young', ':method': 'DELETE' }).on('error', () => {})
  await next
  t.match(
    holdUpsOf([server]).map(each => ({ ...each, id: each.id ?? 'none' })),
    [
      { kind: 'request', method: 'GET', url: '/old', id: '17' },
      { kind: 'request', method: 'DELETE', url: '/young', id: 'none' }
    ]
  )
  stop()
  t.equal(server.listenerCount('stream'), http2.createServer(() => {}).listenerCount('stream'))
})

t.test('without the option no header is an id', async t => {
  const server = http.createServer(() => {})
  const { connect } = await follow(t, server)
  const stop = watchHoldUps([server], performance.now(), false)
  t.teardown(stop)
  const { client, socket } = await connect()
  client.write(head('/', 'X-Request-ID: 17\r\n'))
  await until(() => socket.bytesRead > 0)
  t.match(holdUpsOf([server]), [{ url: '/' }])
  t.notOk('id' in holdUpsOf([server])[0]!)
})

t.test('a server of another protocol has connections without names', async t => {
  const server = net.createServer(() => {})
  const { connect } = await follow(t, server)
  const stop = watchHoldUps([server], performance.now(), undefined)
  t.teardown(stop)
  await connect()
  t.match(holdUpsOf([server]), [{ kind: 'other' }])
})
