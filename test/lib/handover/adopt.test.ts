/** The time that a connection may do nothing, from one server to the next: both are in this process, the connection takes the way through another. */
import { once } from 'node:events'
import http, { type RequestListener } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectionOf } from '../../../lib/connections/connection.js'
import { connectionsOf } from '../../../lib/connections/connections.js'
import { adopt } from '../../../lib/handover/adopt.js'
import { createHandover } from '../../../lib/handover/handover.js'
import type { OfferAnswer, Relay } from '../../../lib/handover/offer.js'
import { handlePasser } from '../../helper/pass-on.ts'

/** What is set on a server of a test; `timeout` is Fastify's `connectionTimeout`. */
interface Settings extends http.ServerOptions {
  readonly timeout?: number
  /** The application's own timer, for every connection. */
  readonly ownTimeout?: number
}

const address = { key: 'tcp::0', bound: 'here' }
/** Shorter than any other time of these tests. */
const short = 150

// They wait, and don't work.
t.jobs = 4
const together = { buffered: true }

async function listen(t: Test, { timeout = 0, ownTimeout, ...options }: Settings): Promise<http.Server> {
  const server = http.createServer(options, answer)
  server.timeout = timeout
  if (ownTimeout) server.on('connection', socket => socket.setTimeout(ownTimeout))
  connectionsOf(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  return server
}

const answer: RequestListener = (request, response) => {
  request.resume()
  if (request.url === '/slow') setTimeout(() => response.end('slow'), 3 * short)
  else if (request.url !== '/never') response.end('hello')
}

interface Client {
  readonly socket: Socket
  /** What the server has to say; '' if it has ended the connection. */
  ask(route?: string): Promise<string>
  /** The server's end of it. */
  readonly ended: Promise<unknown>
}

async function connect(t: Test, server: http.Server): Promise<Client> {
  const accepted = once(server, 'connection')
  const socket = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  const ended = new Promise(resolve => socket.once('close', resolve))
  await accepted
  return {
    socket,
    ended,
    async ask(route = '/') {
      socket.write(`GET ${route} HTTP/1.1\r\nHost: test\r\n\r\n`)
      const [said] = await Promise.race([once(socket, 'data'), ended.then(() => [''])])
      return String(said)
    }
  }
}

/** Moves the only connection of a server that is at rest; `relay` may answer otherwise. */
async function move(from: http.Server, relay: Relay): Promise<OfferAnswer> {
  const connections = connectionsOf(from)
  const [socket] = connections.sockets
  let state = ''
  while (state !== 'idle' && state !== 'fresh') {
    for (const [, now] of connections.states()) state = now
    await new Promise(setImmediate)
  }
  const handover = createHandover({
    relay: (offer, handle) => relay(JSON.parse(JSON.stringify(offer)), handle),
    addressOf: () => address
  })
  return (await handover.give(connectionOf(socket as Socket))) as OfferAnswer
}

/** @returns moves a connection on from server to server */
async function mover(t: Test) {
  const passOn = await handlePasser(t)
  return async (...servers: http.Server[]) => {
    for (const [index, to] of servers.slice(1).entries()) {
      const from = servers[index] as http.Server
      const listeners = [{ ...address, server: to }]
      const answer = await move(from, async (offer, handle) =>
        adopt(listeners, offer, await passOn(handle)) ? 'adopted' : 'refused'
      )
      t.equal(answer, 'adopted')
    }
  }
}

/** Longer than the timer of any fresh connection of a server lasts, as one of them has seen. */
async function outlivesFresh(t: Test, server: http.Server): Promise<void> {
  const fresh = await connect(t, server)
  await fresh.ended
}

for (const kind of ['timeout', 'ownTimeout'] as const) {
  t.test(
    `an idle connection that is moved has its keep-alive time, whatever ${kind} fresh ones have`,
    together,
    async t => {
      const settings = { keepAliveTimeout: 20_000, [kind]: short }
      const [old, next] = [await listen(t, settings), await listen(t, settings)]
      const moved = await mover(t)
      const client = await connect(t, old)
      await client.ask()
      await moved(old, next)
      await outlivesFresh(t, next)
      t.match(await client.ask(), /hello/, 'it is open, and served')
      await outlivesFresh(t, next)
      t.match(await client.ask(), /hello/, 'and has the keep-alive time behind its response here')
    }
  )
}

t.test(
  'an application that times only fresh connections has no timer on the first request of a moved one',
  together,
  async t => {
    const settings = { keepAliveTimeout: 20_000, ownTimeout: short }
    const [old, next] = [await listen(t, settings), await listen(t, settings)]
    const moved = await mover(t)
    const client = await connect(t, old)
    await client.ask()
    t.match(await client.ask('/slow'), /slow/, 'as before it was moved')
    await moved(old, next)
    t.match(await client.ask('/slow'), /slow/)
  }
)

t.test('server.timeout applies from the first request of a moved connection on', together, async t => {
  const settings = { keepAliveTimeout: 20_000, timeout: short }
  const moved = await mover(t)
  for (const requests of [0, 1]) {
    const [old, next] = [await listen(t, settings), await listen(t, settings)]
    const client = await connect(t, old)
    await client.ask()
    await moved(old, next)
    for (let request = 0; request < requests; request++) await client.ask()
    t.equal(await client.ask('/never'), '', `it is ended, ${requests} requests later`)
  }
})

/** Two silent connections, of which the one that is moved at 500 and 1,000 ms shall end when the other does. */
async function endTogether(t: Test, settings: Settings, route: string | undefined): Promise<void> {
  const servers = [await listen(t, settings), await listen(t, settings), await listen(t, settings)] as const
  const moved = await mover(t)
  const [one, other] = [await connect(t, servers[0]), await connect(t, servers[2])]
  if (route !== undefined) await Promise.all([one.ask(route), other.ask(route)])
  await sleep(500)
  await moved(servers[0], servers[1])
  await sleep(500)
  await moved(servers[1], servers[2])
  const first = await Promise.race([one.ended.then(() => 'moved'), other.ended.then(() => 'other')])
  const begun = performance.now()
  await Promise.all([one.ended, other.ended])
  const later = Math.round(performance.now() - begun)
  t.ok(later < 400, `the ${first} one ends first, and ${later} ms later the other`)
}

t.test('a connection that moves twice has one keep-alive time', together, t =>
  // Node.js adds a second to it.
  endTogether(t, { keepAliveTimeout: 700, timeout: 300 }, '/')
)

t.test(
  'without a keep-alive time the time of a fresh connection goes on behind the first response',
  together,
  t => endTogether(t, { keepAliveTimeout: 0, timeout: 1_500 }, '/')
)

for (const kind of ['timeout', 'ownTimeout'] as const) {
  t.test(`a fresh connection that moves twice has one ${kind}`, together, t =>
    endTogether(t, { keepAliveTimeout: 10_000, [kind]: 1_500 }, undefined)
  )
}

for (const answer of ['refused', 'unavailable'] as const) {
  t.test(`an offer that is ${answer} gives a connection no new time`, together, async t => {
    const server = await listen(t, { keepAliveTimeout: 700 })
    const [one, other] = [
      await connect(t, server),
      await connect(t, await listen(t, { keepAliveTimeout: 700 }))
    ]
    await Promise.all([one.ask(), other.ask()])
    await sleep(700)
    t.equal(await move(server, async () => answer), answer)
    const first = await Promise.race([one.ended.then(() => 'offered'), other.ended.then(() => 'other')])
    const begun = performance.now()
    await Promise.all([one.ended, other.ended])
    const later = Math.round(performance.now() - begun)
    t.ok(later < 400, `the ${first} one ends first, and ${later} ms later the other`)
  })
}

t.test(
  'a moved connection that is offered in vain ends with its own time, and not while it is away',
  together,
  async t => {
    const [old, next] = [await listen(t, { keepAliveTimeout: 200 }), await listen(t, { timeout: short })]
    const moved = await mover(t)
    const client = await connect(t, old)
    await client.ask()
    await moved(old, next)
    const answer = await move(next, async () => {
      await sleep(1_500)
      t.notOk(client.socket.readableEnded, 'another process may read it: nobody else may end it')
      return 'refused'
    })
    t.equal(answer, 'refused')
    await client.ended
  }
)
