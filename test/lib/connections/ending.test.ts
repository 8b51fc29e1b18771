import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { closeLingering, cut, isLingering, lingerAtEnd } from '../../../lib/connections/ending.js'
import { type Accepted, followHttp, request, until } from '../../helper/accepted.ts'

/** How the client sees the end of it: `end`, or the error that comes instead. */
async function endOf({ client }: Accepted): Promise<string> {
  const [how] = await Promise.race([
    once(client, 'end').then(() => ['end']),
    new Promise<[string]>(resolve => {
      client.once('error', (error: NodeJS.ErrnoException) => resolve([error.code ?? error.message]))
    })
  ])
  return how as string
}

/** http may say an error on it before. */
function closeOf(socket: Socket): Promise<unknown> {
  return new Promise(resolve => socket.once('close', resolve))
}

t.test('what the client still sends is read and thrown away, so that it is not reset', async t => {
  const { connect } = await followHttp(t, () => {})
  const accepted = await connect()
  const { client, socket } = accepted
  client.allowHalfOpen = true
  client.write('POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n')
  await until(() => socket.bytesRead > 0)
  const ended = endOf(accepted)
  client.resume()
  t.equal(isLingering(socket), false)
  closeLingering(socket)
  closeLingering(socket) // again does nothing
  t.equal(isLingering(socket), true)
  t.equal(await ended, 'end')
  const before = socket.bytesRead
  client.write(Buffer.alloc(1_000_000))
  await until(() => socket.bytesRead >= before + 1_000_000)
  t.notOk(client.errored)
  const closed = closeOf(socket)
  client.end()
  await closed
})

t.test('nothing of what comes reaches the application any more', async t => {
  let requests = 0
  const { connect } = await followHttp(t, (_request, response) => {
    requests++
    response.end()
  })
  const { client, socket, get } = await connect()
  await get()
  const before = socket.bytesRead
  closeLingering(socket)
  client.write(request())
  await until(() => socket.bytesRead > before)
  t.equal(requests, 1)
})

t.test(
  'a client that neither reads nor closes is not waited for longer than the time that it has',
  async t => {
    const { connect } = await followHttp(t)
    const { client, socket } = await connect()
    client.allowHalfOpen = true
    const begun = performance.now()
    closeLingering(socket, 50)
    await closeOf(socket)
    const ms = performance.now() - begun
    t.ok(ms >= 45 && ms < 900, `${Math.round(ms)} ms`)
  }
)

t.test('nor is one that sends without end', async t => {
  const { connect } = await followHttp(t)
  const { client, socket } = await connect()
  closeLingering(socket, 60_000)
  client.resume()
  client.on('close', () => {})
  client.allowHalfOpen = true
  const send = () => {
    while (!client.destroyed && client.write(Buffer.alloc(65_536)));
  }
  client.on('drain', send)
  send()
  await closeOf(socket)
  t.ok(socket.bytesRead > 16 * 1_024 * 1_024)
})

t.test('what is cut has an end before it is closed, also when it lingers already', async t => {
  const { connect } = await followHttp(t, () => {})
  for (const lingers of [false, true]) {
    const accepted = await connect()
    accepted.client.allowHalfOpen = true // it doesn't close in turn
    accepted.client.resume()
    const ended = endOf(accepted)
    if (lingers) closeLingering(accepted.socket, 60_000)
    cut(accepted.socket)
    t.equal(await ended, 'end')
    if (!accepted.socket.destroyed) await closeOf(accepted.socket)
    t.ok(accepted.socket.destroyed)
  }
})

t.test(
  'whoever ends a connection after its last response lets it linger, once that is asked for',
  async t => {
    let response: ServerResponse | undefined
    const { connect } = await followHttp(t, (_request, given) => {
      response = given
    })
    const { client, socket, said } = await connect()
    client.write(request())
    await until(() => response !== undefined)
    lingerAtEnd(socket)
    lingerAtEnd(socket)
    const answer = said()
    response?.setHeader('Connection', 'close')
    response?.end('bye')
    t.match(await answer, /bye/)
    t.equal(isLingering(socket), true, 'Node.js has ended it')
    client.end()
    await closeOf(socket)
  }
)
