/** Connections of a real server in this process; those that it gives away go to another one, by way of a child. */
import { channel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connectionOf } from '../../../lib/connections/connection.js'
import { drain } from '../../../lib/drain/drain.js'
import { createHandover } from '../../../lib/handover/handover.js'
import type { Relay } from '../../../lib/handover/offer.js'
import { stopAccepting } from '../../../lib/listeners/stop-accepting.js'
import { defaultOptions } from '../../../lib/options.js'
import { createSharer } from '../../../lib/process/sharer.js'
import { type Accepted, type Followed, follow, followHttp, until } from '../../helper/accepted.ts'
import { house, portOf, talk, way } from '../../helper/houses.ts'
import { playLog } from '../../helper/play/log.ts'
import { connectAll, listenersOf, playTaker } from '../../helper/play/taker.ts'

const address = { key: 'tcp::1', bound: 'here' }

const channels = ['http.server.response.finish', 'http.server.request.start']

/** Whether anything runs per request. */
const isWatching = () => channels.some(name => channel(name).hasSubscribers)

/** Of a worker with one server that others have, too. */
function sharerOf(served: Followed, relay: Relay, wait?: Wait) {
  return createSharer({ relay, listeners: listenersOf(served), log: playLog().log }, wait)
}

type Wait = NonNullable<Parameters<typeof createSharer>[1]>

/** Clients that ask again as soon as they are answered. */
function keepBusy(t: Test, clients: readonly Accepted[]) {
  let isOver = false
  const answers = clients.map(() => 0)
  const running = Promise.all(clients.map(ask))
  t.teardown(() => void stop())
  return { answers, round, wait, stop }

  /** All are answered by whoever has got them by now, and once more. */
  async function round(): Promise<void> {
    const before = [...answers]
    await until(() => isOver || answers.every((count, index) => count > before[index]! + 1))
  }

  /** In place of time. */
  async function wait(_time: number, over?: AbortSignal): Promise<void> {
    if (over === undefined) await round()
    else await until(() => over.aborted)
  }

  async function ask({ get }: Accepted, index: number): Promise<void> {
    while (!isOver) {
      if (!/200 OK/.test(await get())) throw new Error('no answer')
      answers[index]!++
      await sleep(1)
    }
  }

  async function stop(): Promise<void> {
    isOver = true
    await running
  }
}

const refuseAll: Relay = async () => 'refused'

t.test('half of the busy connections go, no dormant one, and none is lost', async t => {
  const served = await followHttp(t)
  const sibling = await playTaker(t, 'sibling')
  const all = await connectAll(served, 20)
  const [busy, dormant] = [all.slice(0, 8), all.slice(8)]
  const { round, wait, stop } = keepBusy(t, busy)
  const sharer = sharerOf(served, sibling.relay, wait)
  t.notOk(isWatching())
  const shared = sharer.share({ share: 0.5, how: 'move' })
  t.ok(isWatching())
  t.same(await shared, { wanted: 4, gone: 4 })
  t.notOk(isWatching())
  await round()
  await stop()
  t.equal(served.list.sockets.size, 16)
  t.equal(sibling.list.sockets.size, 4)
  for (const { socket } of dormant) t.ok(served.list.sockets.has(socket))
  const said = await Promise.all(all.map(({ get }) => get()))
  t.equal(said.filter(answer => /sibling$/.test(answer)).length, 4)
  t.equal(said.filter(answer => /hello$/.test(answer)).length, 16)
})

t.test('of few one goes, but never the only one', async t => {
  const served = await followHttp(t)
  const sibling = await playTaker(t, 'sibling')
  let wait: Wait = () => Promise.reject(new Error('not yet'))
  const sharer = sharerOf(served, sibling.relay, (...given) => wait(...given))
  const [one, other] = await connectAll(served, 2)
  const alone = keepBusy(t, [one!])
  wait = alone.wait
  t.same(await sharer.share({ share: 0.9, how: 'move' }), { wanted: 0, gone: 0 })
  t.same(await sharer.share({ share: 0.9, how: 'close' }), { wanted: 0, gone: 0 })
  await alone.stop()
  const both = keepBusy(t, [one!, other!])
  wait = both.wait
  t.same(await sharer.share({ share: 0.1, how: 'move' }), { wanted: 1, gone: 1 })
  await both.stop()
  t.equal(sibling.list.sockets.size, 1)
})

/** Clients of an agent each, that come again when they are told to. */
function keepAsking(t: Test, server: http.Server, count: number) {
  const said: (string | undefined)[] = []
  let isOver = false
  const agents = Array.from({ length: count }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }))
  const { port } = server.address() as { port: number }
  const running = Promise.all(agents.map(ask))
  t.teardown(() => void stop())
  return { said, stop }

  async function ask(agent: http.Agent): Promise<void> {
    while (!isOver) {
      said.push(await get(agent))
      await sleep(1)
    }
    agent.destroy()
  }

  function get(agent: http.Agent): Promise<string | undefined> {
    return new Promise((resolve, reject) => {
      const answered = (response: http.IncomingMessage) =>
        response.resume().once('end', () => resolve(response.headers.connection))
      http.get({ host: '127.0.0.1', port, agent }, answered).once('error', reject)
    })
  }

  async function stop(): Promise<void> {
    isOver = true
    await running
  }
}

t.test('those that are told to close come again, and all are answered', async t => {
  const served = await followHttp(t)
  let accepted = 0
  served.server.on('connection', () => accepted++)
  const { said, stop } = keepAsking(t, served.server, 8)
  await until(() => said.length > 16)
  const sharer = sharerOf(
    served,
    () => Promise.reject(new Error('nothing may be offered')),
    (_time, over) => untilSaid(over === undefined ? 32 : 200)
  )
  const shared = sharer.share({ share: 0.5, how: 'close' })
  t.ok(isWatching())
  t.same(await shared, { wanted: 4, gone: 4 })
  t.notOk(isWatching())
  await untilSaid(32)
  await stop()
  t.equal(said.filter(word => word === 'close').length, 4)
  t.equal(accepted, 12)

  async function untilSaid(more: number): Promise<void> {
    const count = said.length + more
    await until(() => said.length >= count)
  }
})

t.test('who is not answered in time is not told to close afterwards, nor counted', async t => {
  const late: ServerResponse[] = []
  let answered = 0
  const served = await followHttp(t, (request, response) => {
    if (request.url === '/late') late.push(response)
    else response.end('hello', () => answered++)
  })
  const all = await connectAll(served, 3)
  answered = 0
  const wait = (_time: number, over?: AbortSignal) =>
    until(() => (over === undefined ? answered : late.length) === 3)
  const shared = sharerOf(served, refuseAll, wait).share({ share: 0.7, how: 'close' })
  await Promise.all(all.map(({ get }) => get()))
  const slow = all.map(({ get }) => get('/late'))
  t.same(await shared, { wanted: 2, gone: 0 })
  for (const response of late) response.end()
  for (const answer of await Promise.all(slow)) t.match(answer, /Connection: keep-alive/)
})

t.test('where it is refused a connection stays, and others are asked', async t => {
  const served = await followHttp(t)
  const sibling = await playTaker(t, 'sibling')
  const { round, wait, stop } = keepBusy(t, await connectAll(served, 8))
  let refused = 0
  const relay: Relay = async (...offered) => (++refused > 3 ? sibling.relay(...offered) : 'refused')
  const shared = await sharerOf(served, relay, wait).share({ share: 0.5, how: 'move' })
  t.same(shared, { wanted: 4, gone: 4 })
  t.equal(refused, 7)
  await round()
  await stop()
  t.equal(served.list.sockets.size, 4)
})

t.test('where nobody is there it ends at once, and all are served here', async t => {
  const served = await followHttp(t)
  const { round, wait, stop } = keepBusy(t, await connectAll(served, 8))
  let offers = 0
  const relay: Relay = async () => {
    offers++
    return 'unavailable'
  }
  const shared = await sharerOf(served, relay, wait).share({ share: 0.5, how: 'move' })
  t.same(shared, { wanted: 4, gone: 0 })
  t.ok(offers <= 2, `${offers} were offered`)
  await round()
  await stop()
})

t.test('it has an answer where no sibling has one, and offers no more than shall go', async t => {
  const served = await followHttp(t)
  const all = await connectAll(served, 4)
  const { stop } = keepBusy(t, all)
  let answer: (answer: 'refused') => void = () => {}
  const silent = new Promise<'refused'>(resolve => {
    answer = resolve
  })
  const sharer = sharerOf(served, () => silent)
  t.same(await sharer.share({ share: 0.25, how: 'move' }), { wanted: 1, gone: 0 })
  const phases = () => all.map(({ socket }) => connectionOf(socket).phase.name)
  t.equal(phases().filter(name => name === 'away').length, 1)
  t.notOk(phases().includes('queued'))

  const away = all.find(({ socket }) => connectionOf(socket).phase.name === 'away')!
  const drain = createHandover({ relay: refuseAll, addressOf: () => address })
  t.equal(await drain.give(connectionOf(away.socket)), undefined, 'who drains does not offer it again')
  answer('refused')
  await stop() // it is answered, too
  t.equal(await drain.give(connectionOf(away.socket)), 'refused', 'until it is back')
})

t.test('one request at a time', async t => {
  const served = await followHttp(t)
  const sibling = await playTaker(t, 'sibling')
  const { wait, stop } = keepBusy(t, await connectAll(served, 6))
  const sharer = sharerOf(served, sibling.relay, wait)
  const first = sharer.share({ share: 0.4, how: 'move' })
  t.same(await sharer.share({ share: 0.5, how: 'move' }), { wanted: 0, gone: 0 })
  t.same(await first, { wanted: 2, gone: 2 })
  t.same(await sharer.share({ share: 0.5, how: 'move' }), { wanted: 2, gone: 2 }, 'and then the next')
  await stop()
})

for (const how of ['move', 'close'] as const) {
  t.test(`when a drain has begun no other is asked to go: ${how}`, async t => {
    const served = await followHttp(t)
    const { answers, stop } = keepBusy(t, await connectAll(served, 8))
    const shared = sharerOf(served, () => Promise.reject(new Error('nothing may be offered'))).share({
      share: 0.5,
      how
    })
    const before = [...answers]
    await until(() => answers.some((count, index) => count > before[index]! + 1))
    void stopAccepting(served.server)
    t.match(await shared, { gone: 0 })
    await stop()
    t.equal(served.list.sockets.size, 8)
  })
}

t.test('what no sibling has, or can take, stays and does not count', async t => {
  const served = await followHttp(t)
  const own = await follow(
    t,
    http.createServer((_request, response) => void response.end('own'))
  )
  const { wait, stop } = keepBusy(t, [...(await connectAll(own, 4)), ...(await connectAll(served, 1))])
  const sharer = sharerOf(served, refuseAll, wait)
  t.same(await sharer.share({ share: 1, how: 'move' }), { wanted: 0, gone: 0 })
  await stop()
})

t.test(
  'kept WebSockets on which messages come go, half of them, no dormant one, and none is lost',
  async t => {
    const [from, to] = [await house(t, 'a'), await house(t, 'b')]
    const over = new AbortController()
    const url = `ws://127.0.0.1:${portOf(from)}`
    const dormant = Array.from({ length: 6 }, () => new WebSocket(url))
    t.teardown(() => {
      for (const client of dormant) client.terminate()
    })
    await until(() => from.guests.size === 6)
    const silent = new Set(from.list.sockets)
    const talks = Array.from({ length: 4 }, () => talk(t, url, over.signal))
    await until(() => from.guests.size === 10)
    const sharer = sharerOf(from, (await way(t))(to))
    t.same(await sharer.share({ share: 0.5, how: 'move' }), { wanted: 2, gone: 2 })
    await until(() => to.guests.size === 2)
    t.same(await sharer.share({ share: 0.9, how: 'close' }), { wanted: 0, gone: 0 }, 'none is told to close')
    for (const socket of silent) t.ok(from.list.sockets.has(socket))
    over.abort()
    for (const { wrong, code, asked, answered } of await Promise.all(talks)) {
      t.same(wrong, [])
      t.equal(code, 1000)
      t.equal(answered, asked)
    }
  }
)

t.test('kept and idle ones go in their share; a drain waits for a kept one that may come back', async t => {
  const from = await house(t, 'a')
  from.server.on('request', (_request, response) => void response.end('hello'))
  const { wait, stop } = keepBusy(t, await connectAll(from, 2))
  const clients = [1, 2].map(() => new WebSocket(`ws://127.0.0.1:${portOf(from)}`))
  const codes = clients.map(client => once(client, 'close').then(([code]) => code))
  await Promise.all(clients.map(client => once(client, 'open')))
  await until(() => from.guests.size === 2)
  const timer = setInterval(
    () => clients.map(client => client.readyState === client.OPEN && client.ping()),
    1
  )
  const offers: string[] = []
  let answer: (answer: 'refused') => void = () => {}
  const answered = new Promise<'refused'>(resolve => {
    answer = resolve
  })
  const relay: Relay = async ({ kept }) => {
    offers.push(kept ? 'kept' : 'idle')
    return kept ? answered : 'refused'
  }
  const sharer = sharerOf(from, relay, async (time, over) => {
    // While it is counted who is busy, both are.
    if (over === undefined) await Promise.all([wait(time), ...clients.map(client => once(client, 'pong'))])
    else await until(() => offers.includes('kept') && offers.includes('idle'))
  })
  const shared = sharer.share({ share: 0.5, how: 'move' })
  await until(() => from.guests.size === 1 && offers.includes('idle'))
  await stop()
  clearInterval(timer)
  const options = { ...defaultOptions, relay: undefined, addressOf: () => undefined, log: playLog().log }
  const drained = drain([from.server], { ...options, reason: () => 'close' })
  await until(() => from.list.sockets.size === 0)
  t.equal(await Promise.race([drained.then(() => 'drained'), sleep(30, 'waits')]), 'waits')
  answer('refused')
  t.match(await shared, { wanted: 2, gone: 0 })
  await drained
  t.same(await Promise.all(codes), [1001, 1001])
})
