/** What a WebSocket of `ws` may be in the middle of, and how it was set up: the same before a move and after it. */
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket, type WebSocketServer } from 'ws'
import { WebSocketServer as Oldest } from 'ws-oldest'
import type { Fate } from '../../../lib/kept/give.js'
import { until } from '../../helper/accepted.ts'
import { temporaryFolder } from '../../helper/folder.ts'
import { type HouseOptions, house, moveAll, portOf, talk, way } from '../../helper/houses.ts'

/** Two houses alike, and the way from the first to the second. */
async function twoHouses(t: Test, options: HouseOptions = {}) {
  const houses = [await house(t, 'a', options), await house(t, 'b', options)] as const
  const relay = (await way(t))(houses[1])
  return { houses, move: (fates?: Fate[]) => moveAll(houses[0], relay, fates) }
}

async function enter(t: Test, { houses }: Awaited<ReturnType<typeof twoHouses>>, url?: string) {
  const client = new WebSocket(url ?? `ws://127.0.0.1:${portOf(houses[0])}`)
  t.teardown(() => client.terminate())
  const heard: string[] = []
  client.on('message', (data, isBinary) =>
    heard.push(isBinary ? (data as Buffer).toString('hex') : String(data))
  )
  const closed = once(client, 'close').then(([code]) => code as number)
  await once(client, 'open')
  await until(() => houses[0].guests.size === 1)
  const [guest] = houses[0].guests
  return { client, heard, closed, guest: guest! }
}

/** So many bytes of a message in fragments have come. */
async function fragments(guest: WebSocket, count: number): Promise<void> {
  const receiver = (guest as unknown as { _receiver: { _fragments: Buffer[] } })._receiver
  await until(() => receiver._fragments.length === count)
}

for (const perMessageDeflate of [false, { threshold: 0 }]) {
  t.test(`the oldest ws that is known, ${perMessageDeflate ? 'with' : 'without'} compression`, async t => {
    const Server = Oldest as unknown as typeof WebSocketServer
    const { houses } = await twoHouses(t, { Server, perMessageDeflate })
    const to = await way(t)
    const over = new AbortController()
    const url = `ws://127.0.0.1:${portOf(houses[0])}`
    const talks = [1, 2, 3].map(() => talk(t, url, over.signal))
    await until(() => houses[0].guests.size === 3)
    const fates: Fate[] = []
    for (let round = 0; round < 4; round++) {
      const [from, next] = round % 2 === 0 ? houses : [houses[1], houses[0]]
      await moveAll(from, to(next), fates)
      await until(() => next.guests.size === 3)
      await once([...next.guests][0]!, 'message')
    }
    over.abort()
    for (const { wrong, code, asked, answered } of await Promise.all(talks)) {
      t.same(wrong, [])
      t.equal(code, 1000)
      t.equal(answered, asked)
    }
    t.same(
      fates,
      Array.from({ length: 12 }, () => 'kept')
    )
  })
}

t.test('pings are answered by the application, and text is as it came, where it wants it so', async t => {
  const way = await twoHouses(t, {
    autoPong: false,
    skipUTF8Validation: true,
    allowSynchronousEvents: false,
    talk(socket) {
      socket.on('ping', data => socket.pong(`${data}!`))
      socket.on('message', data => socket.send(data, { binary: true }))
    }
  })
  const { client, heard, guest } = await enter(t, way)
  const pongs: string[] = []
  client.on('pong', data => pongs.push(String(data)))
  client.send(Buffer.from([0x61, 0xff]), { binary: false, fin: false })
  client.ping('one')
  await fragments(guest, 1)
  await until(() => pongs.length === 1)
  await way.move()
  client.ping('two')
  client.send(Buffer.from([0xc3]), { binary: false, fin: true })
  await until(() => heard.length === 1)
  t.same(heard, ['61ffc3'])
  t.same(pongs, ['one!', 'two!'])
})

for (const [rest, fate] of [
  [400, '1000'],
  [401, 1009]
] as const) {
  t.test(`maxPayload counts what has come before the move: 600 and ${rest} bytes`, async t => {
    const way = await twoHouses(t, {
      maxPayload: 1_000,
      talk: socket => socket.on('message', data => socket.send(String(String(data).length)))
    })
    const { client, heard, closed, guest } = await enter(t, way)
    client.send('x'.repeat(600), { fin: false })
    await fragments(guest, 1)
    await way.move()
    client.send('x'.repeat(rest), { fin: true })
    const first = new Promise(resolve => client.once('message', data => resolve(String(data))))
    t.equal(await Promise.race([first, closed]), fate)
    t.equal(heard.length, fate === 1009 ? 0 : 1)
  })
}

for (const length of [1_000, 1_001]) {
  t.test(`what a message may refer to is no part of its length: ${length} bytes`, async t => {
    const way = await twoHouses(t, {
      maxPayload: 1_000,
      perMessageDeflate: { threshold: 0 },
      talk: socket => socket.on('message', data => socket.send(String(data)))
    })
    const { client, heard, closed } = await enter(t, way)
    const text = Array.from({ length: 300 }, (_, index) => index).join(' ')
    for (const from of [0, 1]) client.send(text.slice(from, from + 900))
    await until(() => heard.length === 2)
    await way.move()
    client.send(text.slice(0, length))
    if (length === 1_000) {
      await until(() => heard.length === 3)
      t.equal(heard[2], text.slice(0, length))
      client.send(text.slice(0, length + 1))
    }
    t.equal(await closed, 1009)
  })
}

t.test('what waits while the application has paused a WebSocket comes in the next process, once', async t => {
  const way = await twoHouses(t, { perMessageDeflate: { threshold: 0 } })
  const { client, heard, guest } = await enter(t, way)
  client.send('1')
  await until(() => heard.length === 1)
  guest.pause()
  const texts = Array.from({ length: 60 }, (_, index) => `${index + 2} ${'x'.repeat(900)}`)
  for (const text of texts) client.send(text)
  await until(() => client.bufferedAmount === 0)
  await way.move()
  await until(() => heard.length === 61)
  t.equal(heard.filter(text => /^\d+ b /.test(text)).length, 60, 'none was heard by the first one')
  t.same(
    heard.map(text => Number.parseInt(text, 10)),
    Array.from({ length: 61 }, (_, index) => index + 1)
  )
})

t.test(
  'a client is verified again, which may take its time: what it says meanwhile is heard then',
  async t => {
    const asked: (() => void)[] = []
    const way = await twoHouses(t, { verifyClient: (_info, done) => void asked.push(() => done(true)) })
    const entered = enter(t, way)
    await until(() => asked.length === 1)
    asked[0]!()
    const { client, heard } = await entered
    const fates: Fate[] = []
    const moved = way.move(fates)
    await until(() => asked.length === 2)
    client.send('1')
    client.send('2')
    await moved
    t.same(fates, ['kept'])
    asked[1]!()
    await until(() => heard.length === 2)
    t.same(heard, ['1 b y', '2 b y'])
  }
)

t.test('a WebSocket over a Unix socket moves', async t => {
  const directory = temporaryFolder(t)
  const houses = [
    await house(t, 'a', { path: path.join(directory, 'a') }),
    await house(t, 'b', { path: path.join(directory, 'b') })
  ] as const
  const relay = (await way(t))(houses[1])
  const pair = { houses, move: () => moveAll(houses[0], relay) }
  const { client, heard } = await enter(t, pair, `ws+unix:${path.join(directory, 'a')}:/`)
  client.send('1')
  await until(() => heard.length === 1)
  await pair.move()
  client.send('2')
  await until(() => heard.length === 2)
  t.same(heard, ['1 a y', '2 b y'])
})

/** A frame as a client sends it, masked by zeros. */
function frame(first: number, payload: string | Buffer = '', mask = true): Buffer {
  const data = Buffer.from(payload)
  const head = Buffer.alloc(data.length < 126 ? 2 : data.length < 65_536 ? 4 : 10)
  head[0] = first
  head[1] = (mask ? 0x80 : 0) | (data.length < 126 ? data.length : data.length < 65_536 ? 126 : 127)
  if (head.length === 4) head.writeUInt16BE(data.length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(data.length), 2)
  return Buffer.concat([head, Buffer.alloc(mask ? 4 : 0), data])
}

const [text, binary, goOn, close, ping, pong] = [0x81, 0x82, 0x80, 0x88, 0x89, 0x8a]
const [firstText, goOnMore] = [0x01, 0x00]

function closeOf(code: number, reason: string | Buffer = ''): Buffer {
  const head = Buffer.alloc(2)
  head.writeUInt16BE(code)
  return frame(close, Buffer.concat([head, Buffer.from(reason)]))
}

/** The kinds of cases that the Autobahn suite has, for one connection each. */
const cases: Record<string, readonly Buffer[]> = {
  ...Object.fromEntries(
    [0, 1, 125, 126, 127, 128, 65_535, 65_536].flatMap(length => [
      [`text of ${length}`, [frame(text, 'x'.repeat(length))]],
      [`binary of ${length}`, [frame(binary, Buffer.alloc(length, 0xfe))]]
    ])
  ),
  'ping without payload': [frame(ping)],
  'ping of 125': [frame(ping, 'p'.repeat(125))],
  'ping of 126': [frame(ping, 'p'.repeat(126))],
  'ten pings': Array.from({ length: 10 }, (_, index) => frame(ping, String(index))),
  'unasked pong': [frame(pong, 'unasked'), frame(ping, 'ping')],
  ...Object.fromEntries([0x90, 0xa0, 0xc0].map(bit => [`reserved bit ${bit}`, [frame(bit | 1, 'x')]])),
  ...Object.fromEntries([3, 7, 11, 15].map(code => [`reserved opcode ${code}`, [frame(0x80 | code, 'x')]])),
  'without a mask': [frame(text, 'x', false)],
  'fragmented ping': [frame(0x09, 'a'), frame(goOn, 'b')],
  'two fragments': [frame(firstText, 'one'), frame(goOn, 'two')],
  'empty fragments': [frame(firstText), frame(goOnMore), frame(goOn)],
  'ping between fragments': [
    frame(firstText, 'one'),
    frame(ping, 'between'),
    frame(goOnMore, 'two'),
    frame(pong, 'unasked'),
    frame(goOn, 'three')
  ],
  'continues nothing': [frame(goOn, 'x')],
  'begins anew in the middle': [frame(firstText, 'one'), frame(text, 'two')],
  'code point in two fragments': [
    frame(firstText, Buffer.from('κ').subarray(0, 1)),
    frame(goOn, Buffer.from('κ').subarray(1))
  ],
  'no UTF-8': [frame(text, Buffer.from([0xce, 0xba, 0xed, 0xa0, 0x80]))],
  'no UTF-8 in the second fragment': [frame(firstText, 'one'), frame(goOn, Buffer.from([0xff]))],
  'close without a code': [frame(close)],
  'close of one byte': [frame(close, 'x')],
  'ping after close': [closeOf(1000), frame(ping, 'late')],
  'text, then close in fragments': [frame(firstText, 'one'), closeOf(1000), frame(goOn, 'two')],
  ...Object.fromEntries(
    [999, 1000, 1004, 1005, 1006, 1011, 1015, 2999, 3000, 4999, 5000].map(code => [
      `close ${code}`,
      [closeOf(code, 'bye')]
    ])
  ),
  'close with no UTF-8': [closeOf(1000, Buffer.from([0xff]))]
}

t.test('a client gets the same wherever in its frames the move comes', async t => {
  const pair = await twoHouses(t, {
    perMessageDeflate: false,
    talk: socket => socket.on('message', (data, binary) => socket.send(data, { binary }))
  })
  const { houses, move } = pair
  const all = Object.entries(cases).map(([name, frames]) => {
    const bytes = Buffer.concat([...frames, closeOf(1000)])
    // Behind the first byte, within the head, in the middle, before the last byte, and nothing of it behind the move.
    const cuts = [0, 1, 3, 7, bytes.length >> 1, bytes.length - 9, bytes.length].map(cut => Math.max(cut, 0))
    return { name, bytes, cuts: [...new Set(cuts)].filter(cut => cut <= bytes.length) }
  })
  const talks = await Promise.all(all.flatMap(({ bytes, cuts }) => cuts.map(cut => begin(bytes, cut))))
  await until(() => talks.every(({ hasCome }) => hasCome()))
  const fates: Fate[] = []
  await move(fates)
  for (const { goOn } of talks) goOn()
  const answers = await Promise.all(talks.map(({ answer }) => answer))
  let index = 0
  for (const { name, cuts } of all) {
    const here = answers.slice(index, index + cuts.length)
    const unmoved = here.at(-1)
    t.ok(unmoved!.length > 0, name)
    t.same(new Set(here), new Set([unmoved]), name)
    index += cuts.length
  }
  const kept = fates.filter(fate => fate === 'kept').length
  t.ok(kept > talks.length / 2, `${kept} of ${talks.length} have moved`)

  /** Sends the bytes up to a place. */
  async function begin(bytes: Buffer, cut: number) {
    const client = net.connect(portOf(houses[0]), '127.0.0.1')
    t.teardown(() => client.destroy())
    client.write(
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
    )
    await once(client, 'data')
    const received: Buffer[] = []
    client.on('data', chunk => received.push(chunk))
    client.on('error', () => {}) // where the server closes in the middle of what it is told
    const ended = once(client, 'close')
    client.write(bytes.subarray(0, cut))
    const socket = [...houses[0].list.sockets].find(({ remotePort }) => remotePort === client.localPort)!
    const before = client.bytesWritten
    return {
      hasCome: () => socket.bytesRead === before || socket.destroyed,
      goOn: () => client.end(bytes.subarray(cut)),
      answer: ended.then(() => Buffer.concat(received).toString('hex'))
    }
  }
})

t.test('a message of its own in fragments is not cut in two by the move', async t => {
  let guest: WebSocket | undefined
  const way = await twoHouses(t, {
    talk(socket) {
      guest = socket
    }
  })
  const { heard } = await enter(t, way)
  guest!.send('one ', { fin: false })
  const moved = way.move()
  await sleep(20)
  t.equal(way.houses[1].guests.size, 0)
  guest!.send('two', { fin: true })
  await moved
  await until(() => heard.length === 1)
  t.same(heard, ['one two'])
})
