import { once } from 'node:events'
import http, { type Server } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { holdClose, onceStopped, stopAccepting } from '../../../lib/listeners/stop-accepting.js'

async function setUp(t: Test) {
  const server = http.createServer((_request, response) => response.end('served'))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const clients: Socket[] = []
  t.teardown(() => {
    for (const client of clients) client.destroy()
    server.close()
  })
  return { server, connect }

  async function connect(): Promise<Socket> {
    const client = net.connect(port, '127.0.0.1')
    clients.push(client)
    await once(client, 'connect')
    return client
  }
}

async function request(client: Socket): Promise<string> {
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  return String((await once(client, 'data'))[0])
}

/** How often each of these has been called. */
function calls() {
  const errors: unknown[] = []
  return { errors, call: (error?: Error) => void errors.push(error) }
}

t.test('a server that stops accepting serves the connections that it has, and waits for them', async t => {
  const { server, connect } = await setUp(t)
  const client = await connect()
  await request(client)
  let isOver = false
  const stopped = stopAccepting(server).then(() => {
    isOver = true
  })
  const [error] = await once(net.connect(client.remotePort as number, '127.0.0.1'), 'error').catch(error => [
    error
  ])
  t.equal(error.code, 'ECONNREFUSED')
  t.match(await request(client), /served/)
  t.notOk(isOver)
  client.end()
  await stopped
})

t.test('one that does not listen has stopped already', async t => {
  await stopAccepting(http.createServer())
  t.pass()
})

t.test('it is told at once that a server has stopped, and once, however it stopped', async t => {
  const ways: ((server: Server) => unknown)[] = [
    server => stopAccepting(server),
    server => server.close(),
    server => net.Server.prototype.close.call(server)
  ]
  for (const [index, stop] of ways.entries()) {
    const { server, connect } = await setUp(t)
    const { call, errors } = calls()
    onceStopped(server, call)
    const client = await connect()
    await request(client)
    stop(server)
    t.equal(
      errors.length,
      index < 2 ? 1 : 0,
      'before its last connection has gone, if our close() was called'
    )
    const closed = once(server, 'close')
    client.destroy()
    await closed
    t.equal(errors.length, 1)
  }
})

t.test('who closes a server that a drain has stopped hears of no error', async t => {
  const { server } = await setUp(t)
  onceStopped(server, () => {})
  await stopAccepting(server)
  const error = await new Promise(resolve => server.close(resolve))
  t.equal(error, undefined)
  const { server: other } = await setUp(t)
  onceStopped(other, () => {})
  await new Promise(resolve => other.close(resolve))
  t.match(
    await new Promise(resolve => other.close(resolve)),
    { code: 'ERR_SERVER_NOT_RUNNING' },
    'else as ever'
  )
})

t.test('close() waits while it is held, and each call is made up for', async t => {
  const { server, connect } = await setUp(t)
  const release = holdClose(server)
  const { call, errors } = calls()
  t.equal(server.close(call), server)
  server.close()
  t.ok(server.listening)
  t.match(await request(await connect()), /served/)
  t.same(errors, [])
  const closed = once(server, 'close')
  release()
  t.notOk(server.listening)
  await closed
  t.same(errors, [undefined])
})

t.test('after that a close() is one again', async t => {
  const { server } = await setUp(t)
  holdClose(server)()
  t.ok(server.listening, 'nobody had called it')
  server.close()
  t.notOk(server.listening)
})
