/** WebSockets of `ws` that go from server to server while both sides talk; the relay is the test's. */
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { connectionOf } from '../../../lib/connections/connection.js'
import { expectsConnection } from '../../../lib/kept/expected.js'
import type { Fate } from '../../../lib/kept/give.js'
import { choppy } from '../../helper/choppy.ts'
import { house, keeper, moveAll, moverOf, portOf, talk, way } from '../../helper/houses.ts'
import { playLog } from '../../helper/play/log.ts'

const compressions = {
  'without compression': false,
  'with permessage-deflate and context takeover': { threshold: 0 },
  'with permessage-deflate without context takeover': {
    threshold: 0,
    serverNoContextTakeover: true,
    clientNoContextTakeover: true
  },
  'with a small window': { threshold: 0, clientMaxWindowBits: 9, serverMaxWindowBits: 10 }
} as const

for (const [kind, perMessageDeflate] of Object.entries(compressions)) {
  t.test(`WebSockets ${kind} move to and fro in the middle of their talk, and nothing is lost`, async t => {
    const houses = [
      await house(t, 'a', { perMessageDeflate }),
      await house(t, 'b', { perMessageDeflate })
    ] as const
    const to = await way(t)
    const port = await choppy(t, portOf(houses[0]))
    const over = new AbortController()
    const talks = Array.from({ length: 6 }, () => talk(t, `ws://127.0.0.1:${port}/?name=me`, over.signal))
    while (houses[0].guests.size < 6) await sleep(1)
    const fates: Fate[] = []
    for (let round = 0; round < 12; round++) {
      const [from, next] = round % 2 === 0 ? houses : [houses[1], houses[0]]
      const relay = to(next)
      await moveAll(from, async (...offer) => (Math.random() < 0.2 ? 'unavailable' : relay(...offer)), fates)
      while (next.guests.size < 6) await sleep(1)
      await once([...next.guests][0]!, 'message')
    }
    over.abort()
    for (const { asked, answered, houses, wrong, code } of await Promise.all(talks)) {
      t.same(wrong, [])
      t.equal(code, 1000)
      t.equal(answered, asked)
      t.ok(asked > 10, `${asked} questions`)
      t.ok(houses.size === 2, 'each house has answered')
    }
    t.equal(fates.filter(fate => fate === 'kept').length, 72)
    t.ok(fates.includes('unavailable'), `${fates.length - 72} came back`)
    t.equal(houses.flatMap(({ closes }) => closes).filter(({ moved }) => !moved).length, 6, 'but for the end')
  })
}

const request = {
  method: 'GET',
  url: '/chat?token=secret',
  headers: {},
  rawHeaders: []
} as unknown as IncomingMessage

/** A client that is there, and its house. */
async function one(t: Test) {
  const from = await house(t, 'a')
  const client = new WebSocket(`ws://127.0.0.1:${portOf(from)}`)
  t.teardown(() => client.terminate())
  const heard: string[] = []
  client.on('message', data => heard.push(String(data).trimEnd()))
  await once(client, 'open')
  while (from.guests.size === 0) await sleep(1)
  return { from, client, heard, guest: () => [...from.guests][0]! }
}

t.test('one that is refused goes on here with its state, and is not offered again', async t => {
  const { from, client, heard } = await one(t)
  client.send('1')
  await once(client, 'message')
  const fates: Fate[] = []
  const mover = await moveAll(from, async () => 'refused', fates)
  t.same(fates, ['refused'])
  t.equal(mover.report.refused, 1)
  const [socket] = from.list.sockets
  t.notOk(mover.mayMove(socket!), 'so it may be told to come again')
  mover.consider(connectionOf(socket!))
  t.notOk(mover.isMoving())
  client.send('2')
  await once(client, 'message')
  t.same(heard, ['1 a y', '2 a y'])
  t.same(from.closes, [{ code: 1006, moved: true }])
  t.equal(client.readyState, WebSocket.OPEN)
})

t.test(
  'one whose state can only be saved with a word to its client stays, and says that word once',
  async t => {
    const { from, client, heard, guest } = await one(t)
    keeper.keep(guest(), request, () => {
      guest().send('x'.repeat(4_000_000))
      return 1
    })
    const { log, lines, fields } = playLog()
    const mover = await moveAll(from, async () => 'lost', [], log)
    t.same(lines, ['warn: a connection is not kept'])
    t.match(fields, [{ route: 'GET /chat', err: /has written to the connection/ }])
    const [socket] = from.list.sockets
    t.notOk(mover.mayMove(socket!), 'so it may be told to come again')
    guest().send('y')
    while (heard.length < 2) await sleep(1)
    t.same(heard, ['x'.repeat(4_000_000), 'y'])
    t.equal(client.readyState, WebSocket.OPEN)
  }
)

for (const [what, keep] of [
  ['atRest()', (guest: WebSocket) => keeper.keep(guest, request, () => 1, { atRest: fail })],
  ['unread()', (guest: WebSocket) => keeper.keepSocket(socketOf(guest), request, () => 1, fail)],
  ['unread() of nothing', (guest: WebSocket) => keeper.keepSocket(socketOf(guest), request, () => 1, nothing)]
] as const) {
  t.test(`an error of the application's ${what} ends nothing: the connection stays`, async t => {
    const { from, client, guest } = await one(t)
    keep(guest())
    const { log, lines, fields } = playLog()
    const fates: Fate[] = []
    await moveAll(from, async () => 'lost', fates, log)
    t.same(fates, [])
    t.same(lines, ['warn: a connection is not kept'])
    t.match(fields, [{ route: 'GET /chat', err: Error }])
    client.send('1')
    await once(client, 'message')
  })
}

function fail(): never {
  throw new Error('on purpose')
}

function nothing(): never {
  return undefined as never
}

function socketOf(guest: WebSocket): Duplex {
  return (guest as unknown as { _socket: Duplex })._socket
}

t.test('a message is waited for of which more than a mebibyte has come in whole fragments', async t => {
  const { from, client, guest } = await one(t)
  const receiver = (guest() as unknown as { _receiver: { _fragments: Buffer[] } })._receiver
  const half = 'x'.repeat(524_288)
  for (let count = 1; count <= 3; count++) client.send(half, { fin: false })
  while (receiver._fragments.length < 3) await sleep(1)
  const fates: Fate[] = []
  const mover = moverOf(async () => 'lost', fates)
  mover.consider(connectionOf([...from.list.sockets][0]!))
  const heard = once(guest(), 'message')
  for (let count = 0; count < 3; count++) {
    client.ping()
    await once(client, 'pong')
  }
  t.ok(mover.isMoving())
  t.same(fates, [])
  client.send('', { fin: true })
  t.equal(String((await heard)[0]).length, 3 * half.length)
  while (mover.isMoving()) await sleep(1)
  t.same(fates, ['lost'])
})

t.test('while the application is in the middle of something it is waited for', async t => {
  const { from, guest } = await one(t)
  let isAtRest = false
  let asked = 0
  keeper.keep(guest(), request, () => 1, {
    atRest() {
      asked++
      return isAtRest
    }
  })
  const fates: Fate[] = []
  const mover = moverOf(async () => 'lost', fates)
  mover.consider(connectionOf([...from.list.sockets][0]!))
  while (asked < 5) await sleep(1)
  t.ok(mover.isMoving())
  t.same(fates, [])
  isAtRest = true
  while (mover.isMoving()) await sleep(1)
  t.same(fates, ['lost'])
})

t.test('who can take only some now is asked for the others soon, again and again', async t => {
  const from = await house(t, 'a')
  const clients = Array.from({ length: 40 }, () => new WebSocket(`ws://127.0.0.1:${portOf(from)}`))
  t.teardown(() => clients.map(client => client.terminate()))
  while (from.guests.size < 40) await sleep(1)
  let offers = 0
  const fates: Fate[] = []
  const begun = performance.now()
  await moveAll(from, async () => (++offers % 2 === 0 ? 'unavailable' : 'adopted'), fates)
  t.equal(fates.filter(fate => fate === 'kept').length, 40)
  t.ok(fates.length > 60, `${fates.length - 40} came back`)
  t.ok(performance.now() - begun < 9_000, 'not each a second later')
})

t.test('who is back, and is not let in, keeps no other one from going', async t => {
  const offered = new Set<IncomingMessage>()
  const from = await house(t, 'a', {
    verifyClient({ req }: { req: IncomingMessage }, done: (isLetIn: boolean) => void) {
      if (keeper.restored(req) === undefined) done(true)
      else offered.add(req)
    }
  })
  const clients = Array.from({ length: 3 }, () => new WebSocket(`ws://127.0.0.1:${portOf(from)}`))
  t.teardown(() => clients.map(client => client.terminate()))
  while (from.guests.size < 3) await sleep(1)
  const fates: Fate[] = []
  let offers = 0
  const mover = moverOf(async () => (++offers < 3 ? 'unavailable' : 'adopted'), fates)
  for (const socket of from.list.sockets) mover.consider(connectionOf(socket))
  while (fates.length < 3) await sleep(1)
  t.same(fates.sort(), ['kept', 'unavailable', 'unavailable'])
  t.equal(expectsConnection(from.server), false)
  while (offered.size < 2) await sleep(1)
  t.ok(mover.isMoving(), 'they may go yet, when they are let in')
  mover.stop()
  t.notOk(mover.isMoving())
})

t.test('an answer that never comes is waited for until the cut', async t => {
  const { from, client } = await one(t)
  const closed = once(client, 'close')
  const fates: Fate[] = []
  const mover = moverOf(() => new Promise(() => {}), fates)
  mover.consider(connectionOf([...from.list.sockets][0]!))
  while (from.guests.size > 0) await sleep(1)
  mover.stop()
  t.ok(mover.isMoving())
  t.equal(client.readyState, WebSocket.OPEN)
  mover.cut()
  await closed
  t.notOk(mover.isMoving())
  t.same(fates, ['cut'])
})
