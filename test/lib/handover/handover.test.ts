/** Connections of a real server in this process, given to a relay that the test plays. */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { connectionOf } from '../../../lib/connections/connection.js'
import type { Connections } from '../../../lib/connections/connections.js'
import { createHandover, type HandoverOptions, prepareHandover } from '../../../lib/handover/handover.js'
import type { ConnectionOffer, OfferAnswer } from '../../../lib/handover/offer.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { type Accepted, type Followed, follow, followHttp, request, until } from '../../helper/accepted.ts'

const address = { key: 'tcp::0', bound: 'here' }
const silent = { info() {}, warn() {}, error() {}, fatal() {} }

/** What was offered, by the descriptor that it came with, and how to answer. */
interface Offered {
  readonly offer: ConnectionOffer
  readonly fd: number
  answer(answer: OfferAnswer): void
}

function play(options: Partial<HandoverOptions> = {}) {
  const offers: Offered[] = []
  const handover = createHandover({
    relay(offer, { fd }) {
      const { promise, resolve } = createDeferred<OfferAnswer>()
      offers.push({ offer, fd, answer: resolve })
      return promise
    },
    addressOf: () => address,
    ...options
  })
  return { handover, offers }
}

function descriptor(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd
}

async function idle({ list, connect }: Followed): Promise<Accepted> {
  const accepted = await connect()
  await accepted.get()
  await until(() => stateOf(list, accepted.socket) === 'idle')
  return accepted
}

function stateOf(list: Connections, socket: Socket): string | undefined {
  for (const [, state] of list.states([socket])) return state
  return undefined
}

t.test('one idle connection is given away without any drain, and the server serves all others', async t => {
  const served = await followHttp(t)
  const [given, other] = [await idle(served), await idle(served)]
  const { handover, offers } = play()
  const answer = handover.give(connectionOf(given.socket))
  t.match(offers, [{ offer: { listener: address, idleTime: Number }, fd: descriptor(given.socket) }])
  offers[0]!.answer('adopted')
  t.equal(await answer, 'adopted')
  t.ok(given.socket.destroyed, 'its descriptor here is closed')
  t.notOk(given.socket.writableEnded, 'and nothing else done to the socket that both processes share')
  t.match(await other.get(), /200 OK.*hello/s)
  t.match(await (await served.connect()).get(), /200 OK/, 'it accepts')
  t.match(handover.report, { moved: 1, refused: 0 })
})

for (const answer of ['refused', 'unavailable'] as const) {
  t.test(
    `what comes while a connection is away is not read, and is answered here if it is ${answer}`,
    async t => {
      const served = await followHttp(t)
      const { client, socket, said } = await idle(served)
      const { handover, offers } = play()
      const connection = connectionOf(socket)
      const given = handover.give(connection)
      t.equal(await handover.give(connection), undefined, 'it is not offered twice')
      handover.consider(connection, 'idle')
      t.equal(offers.length, 1)
      const before = socket.bytesRead
      const response = said()
      await new Promise(resolve => client.write(request(), resolve))
      const witness = await served.connect()
      await witness.get()
      t.equal(socket.bytesRead, before, 'the event loop has read another one, which came later')
      offers[0]!.answer(answer)
      t.equal(await given, answer)
      t.match(await response, /200 OK/)
      await until(() => stateOf(served.list, socket) === 'idle')

      t.equal(handover.canGoNow(connection), false)
      t.equal(handover.staysHere(connection), answer === 'refused')
      handover.consider(connection, 'idle')
      t.equal(offers.length, answer === 'refused' ? 1 : 2, 'whether it is offered again')
      offers[1]?.answer('adopted')
      t.equal(play().handover.staysHere(connection), false, 'another way may be open to it')
      t.equal(handover.report.refused, answer === 'refused' ? 1 : 0)
    }
  )
}

t.test('a connection of which nobody knows who reads it is closed here', async t => {
  const served = await followHttp(t)
  const { socket } = await idle(served)
  const { handover, offers } = play()
  const given = handover.give(connectionOf(socket))
  offers[0]!.answer('lost')
  t.equal(await given, 'lost')
  t.ok(socket.destroyed)
  t.match(handover.report, { moved: 0, refused: 0 })
})

t.test('two are on their way at once, and those that have just been answered go first', async t => {
  const served = await followHttp(t)
  const all: Accepted[] = []
  while (all.length < 6) all.push(await idle(served))
  const descriptors = all.map(({ socket }) => descriptor(socket))
  const connections = all.map(({ socket }) => connectionOf(socket))
  const { handover, offers } = play()
  const order = () => offers.map(({ fd }) => descriptors.indexOf(fd))
  for (const connection of connections.slice(4)) handover.answered(connection)
  for (const connection of connections.slice(0, 4)) handover.consider(connection, 'idle')
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  t.same(order(), [0, 1], 'all others wait')
  for (let answered = 0; answered < 6; answered++) {
    await until(() => offers.length > answered)
    offers[answered]!.answer(answered === 1 ? 'refused' : 'adopted')
    await new Promise(setImmediate)
    t.ok(offers.length <= answered + 3)
  }
  t.same(order(), [0, 1, 4, 5, 2, 3])
  t.match(handover.report, { moved: 5, refused: 1 })
})

t.test('one that is answered while none can go is looked at when the queue is empty', async t => {
  const served = await followHttp(t)
  const [one, two, last] = [await idle(served), await idle(served), await idle(served)]
  const { handover, offers } = play()
  for (const { socket } of [one, two]) handover.consider(connectionOf(socket), 'idle')
  handover.answered(connectionOf(last.socket))
  offers[0]!.answer('adopted')
  await until(() => offers.length === 3)
  t.equal(offers[2]!.fd, descriptor(last.socket))
  for (const { answer } of offers.slice(1)) answer('adopted')
})

t.test('a connection that is no more at rest when its turn comes is served here', async t => {
  const served = await followHttp(t)
  const [one, two, busy, half] = [
    await idle(served),
    await idle(served),
    await idle(served),
    await idle(served)
  ]
  const { handover, offers } = play()
  for (const { socket } of [one, two, busy, half]) handover.consider(connectionOf(socket), 'idle')
  const before = half.socket.bytesRead
  half.client.write('GET / HT')
  t.match(await busy.get(), /200 OK/)
  await until(() => half.socket.bytesRead > before)
  for (const { answer } of offers) answer('adopted')
  await until(() => handover.report.moved === 2)
  t.equal(offers.length, 2)
  t.equal(await handover.give(connectionOf(half.socket)), undefined, 'nor is it given to whoever asks for it')
  const said = half.said()
  half.client.write('TP/1.1\r\nHost: test\r\n\r\n')
  t.match(await said, /200 OK/)
})

t.test('a connection that is being closed does not go, whoever closes it', async t => {
  const served = await followHttp(t, (request, response) => {
    if (request.url === '/last') response.setHeader('Connection', 'close')
    response.end('hello')
  })
  const { handover, offers } = play()
  const [byClient, byServer] = [await idle(served), await idle(served)]
  const ends = once(byClient.socket, 'end')
  byClient.client.end()
  await ends
  t.notOk(byClient.socket.destroyed, 'it is open yet')
  t.equal(stateOf(served.list, byClient.socket), 'idle', 'and at rest')
  void handover.give(connectionOf(byClient.socket))
  t.equal(offers.length, 0)

  served.server.once('request', (_request, response) =>
    response.once('finish', () => handover.answered(connectionOf(byServer.socket)))
  )
  await byServer.get('/last')
  await until(() => byServer.socket.destroyed)
  t.equal(offers.length, 0)

  const turns = play()
  const [one, two, queued] = [await idle(served), await idle(served), await idle(served)]
  for (const { socket } of [one, two, queued]) turns.handover.consider(connectionOf(socket), 'idle')
  queued.socket.once('end', () => turns.offers[0]!.answer('adopted'))
  queued.client.end()
  await until(() => turns.handover.report.moved === 1)
  t.equal(turns.offers.length, 2)
})

t.test('one that is closed here while it is away was not refused by anybody', async t => {
  const served = await followHttp(t)
  const { socket } = await idle(served)
  const { handover, offers } = play()
  const given = handover.give(connectionOf(socket))
  socket.destroy()
  offers[0]!.answer('refused') // which the other end says of what it has not got
  t.equal(await given, undefined)
  t.match(handover.report, { moved: 0, refused: 0 })
})

t.test('a fresh connection goes with the time that it has as such', async t => {
  const served = await followHttp(t)
  served.server.timeout = 5_000
  const { socket } = await served.connect()
  const { handover, offers } = play()
  void handover.give(connectionOf(socket))
  t.match(offers, [{ offer: { idleTime: null, freshTime: Number } }])
  t.ok(offers[0]!.offer.freshTime! <= 5_000)
  offers[0]!.answer('adopted')
})

t.test('behind an answer that nobody is there the others are not offered, but looked at anew', async t => {
  const served = await followHttp(t)
  const all = [await idle(served), await idle(served), await idle(served)]
  const { handover, offers } = play()
  for (const { socket } of all) handover.consider(connectionOf(socket), 'idle')
  for (const { answer } of offers) answer('unavailable')
  await until(() => !all.some(({ socket }) => connectionOf(socket).phase.name === 'away'))
  t.equal(offers.length, 2)
  t.same(
    all.map(({ socket }) => connectionOf(socket).phase.name),
    ['here', 'here', 'here']
  )
  handover.consider(connectionOf(all[2]!.socket), 'idle')
  t.equal(offers.length, 3)
  offers[2]!.answer('adopted')
  await until(() => handover.report.moved === 1)
  t.equal(handover.canGoNow(connectionOf(all[0]!.socket)), true)
})

t.test('the longest time in which nobody reads a connection is measured', async t => {
  const served = await followHttp(t)
  const { handover, offers } = play()
  for (const [index, pause] of [60, 0].entries()) {
    const given = handover.give(connectionOf((await idle(served)).socket))
    const begun = performance.now()
    await until(() => performance.now() - begun >= pause)
    offers[index]!.answer('adopted')
    await given
  }
  t.ok(handover.report.longestPause >= 60, `${handover.report.longestPause} ms`)
  t.ok(handover.report.longestPause < 10_000)
})

t.test('the pace says when the next one goes', async t => {
  const served = await followHttp(t)
  const all = [await idle(served), await idle(served)]
  const pace = {
    gone: 0,
    wait: () => (pace.gone === 0 ? 0 : 20),
    count: () => void pace.gone++,
    restart() {}
  }
  const { handover, offers } = play({ pace })
  for (const { socket } of all) handover.consider(connectionOf(socket), 'idle')
  t.equal(offers.length, 1)
  pace.wait = () => 0
  await until(() => offers.length === 2)
  for (const { answer } of offers) answer('adopted')
})

t.test('when it is over nothing goes any more', async t => {
  const served = await followHttp(t)
  const all = [await idle(served), await idle(served), await idle(served)]
  const over = new AbortController()
  const { handover, offers } = play({ over: over.signal })
  for (const { socket } of all) handover.consider(connectionOf(socket), 'idle')
  over.abort()
  t.equal(connectionOf(all[2]!.socket).phase.name, 'here')
  for (const { answer } of offers) answer('adopted')
  await until(() => handover.report.moved === 2)
  await new Promise(setImmediate)
  t.equal(offers.length, 2)
})

t.test('only plain HTTP/1.1 of a listener goes', async t => {
  const { handover } = play()
  const staysHere = async (t: Test, server: http.Server | https.Server) => {
    const { connect } = await follow(t, server)
    return handover.staysHere(connectionOf((await connect()).socket))
  }
  t.equal(await staysHere(t, http.createServer()), false)
  t.equal(await staysHere(t, https.createServer()), true)
  const { socket } = await (await followHttp(t)).connect()
  const unnamed = play({ addressOf: () => undefined }).handover
  t.equal(unnamed.staysHere(connectionOf(socket)), true)
  t.equal(await unnamed.give(connectionOf(socket)), undefined)

  const warnings: string[] = []
  const log = { ...silent, warn: (sentence: string) => warnings.push(sentence) } as never
  const way = { relay: async () => 'refused' as const, addressOf: () => address }
  t.equal(prepareHandover([https.createServer()], way, log), undefined)
  t.same(warnings, [])
  t.equal(prepareHandover([http.createServer()], way, log), undefined, 'it has no list of those at rest')
  t.equal(warnings.length, 1)
})
