import type { ServerResponse } from 'node:http'
import net from 'node:net'
import t from 'tap'
import { connectionOf, knownConnection } from '../../../lib/connections/connection.js'
import { countConnections, statesOf } from '../../../lib/connections/connections.js'
import { closeLingering } from '../../../lib/connections/ending.js'
import { startClock } from '../../../lib/connections/idle-clock.js'
import { follow, followHttp, until } from '../../helper/accepted.ts'

t.test('a connection is fresh, active, idle, active with half a request, and detached', async t => {
  const responses: ServerResponse[] = []
  const { server, list, connect } = await followHttp(t, (_request, response) => void responses.push(response))
  server.on('connect', () => {})
  const { client, socket, said } = await connect()
  const state = () => [...list.states()][0]?.[1]
  t.equal(state(), 'fresh')
  client.write('GET / HTTP/1.1\r\n')
  await until(() => socket.bytesRead > 0)
  t.equal(state(), 'active', 'a part of the first request')
  client.write('Host: test\r\n\r\n')
  await until(() => responses.length === 1)
  t.equal(state(), 'active', 'it is answered')
  responses[0]?.end('hello')
  await said()
  await until(() => state() === 'idle')
  client.write('CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n')
  await until(() => state() === 'detached')
  closeLingering(socket)
  t.equal(state(), 'active', 'until it has closed')
})

t.test(
  'one that comes from an older generation, which has served it, is idle before anything is read',
  async t => {
    const { list, connect } = await followHttp(t)
    const { socket } = await connect()
    startClock(socket, 1_000, true, () => {})
    t.same([...list.states()], [[socket, 'idle']])
  }
)

t.test('a connection is not idle before the system has taken all that was written to it', async t => {
  const { list, connect } = await followHttp(t)
  const { client, socket, get } = await connect()
  await get()
  const state = () => [...list.states()][0]?.[1]
  await until(() => state() === 'idle')
  client.pause()
  socket.write(Buffer.alloc(32 * 2 ** 20))
  await until(() => socket.writableLength > 0)
  t.equal(state(), 'active')
})

t.test(
  'connections of several servers are told by their record, and those that have ended left out',
  async t => {
    const [one, two] = [await followHttp(t), await followHttp(t)]
    const [fresh, ended, idle] = [await one.connect(), await one.connect(), await two.connect()]
    await idle.get()
    await until(() => [...two.list.states()][0]?.[1] === 'idle')
    ended.socket.destroy()
    await until(() => one.list.sockets.size === 1)
    const states = [...statesOf([fresh, ended, idle].map(({ socket }) => connectionOf(socket)))]
    t.same(
      states.map(([{ socket, server }, state]) => [socket.remotePort, server === two.server, state]),
      [
        [fresh.socket.remotePort, false, 'fresh'],
        [idle.socket.remotePort, true, 'idle']
      ]
    )
  }
)

t.test('a connection that is merely served and counted has no record', async t => {
  const { list, connect } = await followHttp(t)
  const { socket, get } = await connect()
  await get()
  countConnections([list])
  t.equal(knownConnection(socket), undefined)
  t.equal(connectionOf(socket), connectionOf(socket), 'and then one')
})

t.test('the record of a connection that is given on says the server that has it now', async t => {
  const inner = await followHttp(t)
  const front = await follow(
    t,
    net.createServer(socket => socket.pause())
  )
  const { socket, get } = await front.connect()
  const connection = connectionOf(socket)
  t.equal(connection.server, front.server)
  inner.server.emit('connection', socket)
  t.equal(connection.server, inner.server)
  t.same([front.list.sockets.size, inner.list.sockets.size], [0, 1])
  socket.resume()
  t.match(await get(), /hello/)
})
