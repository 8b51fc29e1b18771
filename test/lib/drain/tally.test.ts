import http2 from 'node:http2'
import t from 'tap'
import { connectionOf } from '../../../lib/connections/connection.js'
import { createTally } from '../../../lib/drain/tally.js'
import { follow, followHttp, request, until } from '../../helper/accepted.ts'

/** As `ws` marks a socket when its handshake is over. */
function markAsWebSocket(socket: object): void {
  Object.assign(socket, { [Symbol('websocket')]: { readyState: 1, close() {} } })
}

const none = { moved: 0, finished: 0, told: 0, cut: 0 }

t.test('each connection is counted once, by its kind and by its end', async t => {
  const { list, connect } = await followHttp(t)
  let ends = 0
  const tally = createTally([list], () => ends++)
  const [finished, cut, cutIdle] = [await connect(), await connect(), await connect()]
  for (const { socket } of [finished, cut, cutIdle, cut]) tally.see(connectionOf(socket), 'idle')
  for (const isIdle of [false, true]) tally.cut(connectionOf(cut.socket), isIdle)
  tally.cut(connectionOf(cutIdle.socket), true)
  t.same(
    [finished, cut].map(({ socket }) => tally.wasCut(connectionOf(socket))),
    [false, true]
  )
  t.same(tally.report(undefined).kinds, { http1: { ...none, cut: 2, cutIdle: 1 } })
  for (const { socket } of [finished, cut, cutIdle]) socket.destroy()
  await until(() => ends === 3)
  t.same(tally.report(undefined), {
    refused: 0,
    longestPause: 0,
    kinds: { http1: { ...none, finished: 1, cut: 2, cutIdle: 1 } }
  })
})

t.test('one that has moved ends here too, and has not finished', async t => {
  const { list, connect } = await followHttp(t)
  let ends = 0
  const tally = createTally([list], () => ends++)
  const [one, other] = [await connect(), await connect()]
  for (const { socket } of [one, other]) socket.destroy()
  await until(() => ends === 2)
  t.same(tally.report({ moved: 1, refused: 3, longestPause: 7 }), {
    refused: 3,
    longestPause: 7,
    kinds: { http1: { ...none, moved: 1, finished: 1 } }
  })
})

t.test('one that ends before anybody has looked at it is counted too', async t => {
  const { server, list, connect } = await followHttp(t)
  server.on('connect', () => {})
  const tally = createTally([list], () => {})
  const { client, socket } = await connect()
  const detached = await connect()
  detached.client.write('CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n')
  await until(() => [...list.states()].some(([, state]) => state === 'detached'))
  tally.see(connectionOf(detached.socket), 'detached')
  client.destroy()
  detached.client.destroy()
  detached.socket.destroy()
  await until(() => list.sockets.size === 0)
  t.ok(socket.destroyed)
  t.same(tally.report(undefined).kinds, { other: { ...none, finished: 1 }, http1: { ...none, finished: 1 } })
})

t.test(
  'a WebSocket that was told is waited for until it ends; it may have been a request before',
  async t => {
    const { list, server, connect } = await followHttp(t)
    server.on('connect', () => {})
    const tally = createTally([list], () => {})
    const { client, socket } = await connect()
    const connection = connectionOf(socket)
    tally.see(connection, 'active')
    client.write('CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n')
    await until(() => [...list.states()][0]?.[1] === 'detached')
    markAsWebSocket(socket)
    t.equal(tally.awaitsAnswers(), false)
    tally.toldWebSocket(connection)
    t.equal(connection.kind, 'webSocket')
    t.equal(tally.awaitsAnswers(), true)
    socket.destroy()
    await until(() => list.sockets.size === 0)
    t.equal(tally.awaitsAnswers(), false)
    t.match(tally.report(undefined).kinds, { webSocket: { ...none, told: 1, finished: 1 } })
  }
)

t.test('HTTP/2 sessions have a kind of their own', async t => {
  const { list, connect } = await follow(t, http2.createServer())
  const tally = createTally([list], () => {})
  tally.see(connectionOf((await connect()).socket), 'active')
  tally.toldSession()
  t.same(tally.report(undefined).kinds, { http2: { ...none, told: 1 } })
})

t.test('each drain counts for itself', async t => {
  const { list, connect } = await followHttp(t)
  const { client, socket } = await connect()
  client.write(request())
  const [first, second] = [createTally([list], () => {}), createTally([list], () => {})]
  first.cut(connectionOf(socket), false)
  second.see(connectionOf(socket), 'active')
  t.equal(second.wasCut(connectionOf(socket)), false)
  socket.destroy()
  await until(() => list.sockets.size === 0)
  t.match(second.report(undefined).kinds, { http1: { finished: 1, cut: 0 } })
})

t.test('a kept one has its fate when that is known, and its end here is none', async t => {
  const { list, connect } = await followHttp(t)
  let ends = 0
  const tally = createTally([list], () => ends++)
  const all = [await connect(), await connect(), await connect(), await connect()]
  const settle = all.map(({ socket }) => tally.left(connectionOf(socket)))
  for (const { socket } of all) socket.destroy()
  await until(() => ends === 4)
  t.same(tally.report(undefined).kinds, { http1: none })
  for (const [index, fate] of (['kept', 'lost', 'cut', 'unavailable'] as const).entries())
    settle[index]!(fate)
  t.same(tally.report(undefined).kinds, { http1: { ...none, kept: 1, finished: 1, cut: 1 } })
})

t.test('who was a request when it was seen first counts as what it is when its fate is known', async t => {
  const { list, server, connect } = await followHttp(t)
  server.on('connect', () => {})
  const tally = createTally([list], () => {})
  const all = [await connect(), await connect(), await connect(), await connect()]
  for (const { client, socket } of all) {
    tally.see(connectionOf(socket), 'active')
    client.write('CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n')
  }
  await until(() => [...list.states()].every(([, state]) => state === 'detached'))
  const [kept, ended, other, cut] = all.map(({ socket }) => connectionOf(socket))
  for (const { socket } of [kept!, ended!, cut!]) markAsWebSocket(socket)
  tally.left(kept!)('kept')
  tally.left(other!)('kept')
  tally.cut(cut!, false)
  ended!.socket.destroy()
  await until(() => list.sockets.size === 3)
  t.same(tally.report(undefined).kinds, {
    http1: none,
    webSocket: { ...none, kept: 1, finished: 1, cut: 1 },
    other: { ...none, kept: 1 }
  })
})
