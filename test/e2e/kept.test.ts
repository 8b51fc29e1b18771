/** WebSockets and streams that outlive their process: nobody on either side notices more than a new handler. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { choppy } from '../helper/choppy.ts'
import { endAll, get, heard, party, start } from '../helper/kept.ts'
import { startTalking, type Talker } from '../helper/talk.ts'

const upgrades = Number(process.env.KEPT_UPGRADES ?? 4)
const clients = Number(process.env.KEPT_CLIENTS ?? 60)
/** Longest pause between two messages of a client, in milliseconds: so much is said by all together, however many they are. */
const pause = clients
/** Such a share of the offers a process answers as one that can't take any now. Where there is no other, that takes its time. */
const busyOf = (workers: number) => Number(process.env.KEPT_BUSY ?? (workers > 1 ? 0.2 : 0))
const kinds = ['no compression', 'context takeover', 'no context takeover']

for (const supervised of [undefined, [], ['--workers', '2']]) {
  const how = supervised === undefined ? 'standalone' : supervised.length === 0 ? 'supervised' : 'two workers'

  t.test(
    `${how}: ${clients} clients talk on over ${upgrades} upgrades, and none notices`,
    { timeout: 60_000 + upgrades * (10_000 + clients * 100) },
    async t => {
      const release = { busy: busyOf(supervised?.length ?? 1), options: { drainTimeout: 300_000 } }
      const house = await start(t, { release, ...(supervised && { supervised }) })
      const { server } = house
      const chopped = { ...house, ports: await Promise.all(house.ports.map(port => choppy(t, port))) }
      const half = clients >> 1
      const talkers = [
        ...(await party(t, house, half, { pause })),
        ...(await party(t, chopped, clients - half, { pause, subprotocols: ['sums', 'numbers'] }))
      ]
      for (let upgrade = 1; upgrade <= upgrades; upgrade++) {
        await server.reload()
        await heard(talkers, upgrade + 1)
        const { kept, told, cut, longestPause, ms } = await server.line('generation retired')
        t.match({ kept, told, cut }, { kept: clients, told: 0, cut: 0 })
        t.comment(`longest pause ${longestPause} ms, of ${ms} ms`)
      }
      await Promise.all(talkers.map(talker => talker.end()))
      for (const [index, { socket, wrong, greetings, generations }] of talkers.entries()) {
        t.same(wrong, [], kinds[index % 3])
        t.equal(socket.protocol, index < half ? '' : 'sums')
        t.same(
          generations,
          Array.from({ length: upgrades + 1 }, (_, index) => index + 1)
        )
        t.ok(greetings.every(({ name, ip }) => name === greetings[0]!.name && ip === '127.0.0.1'))
        t.same(
          greetings.map(({ isBack }) => isBack),
          greetings.map((_, index) => index > 0),
          'hooks know which request is a restored one'
        )
      }
      t.comment(`${talkers.reduce((sum, { asked }) => sum + asked(), 0)} messages`)
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null })
    }
  )
}

t.test('a worker that is told to end gives its WebSockets to its sibling', async t => {
  const house = await start(t, { supervised: ['--workers', '2'] })
  const { server } = house
  const talkers = await party(t, house, 12)
  const pids = () => talkers.map(({ greetings }) => greetings.at(-1)?.pid)
  while (pids().includes(undefined)) await sleep(5)
  for (let round = 0; round < 3; round++) {
    const [leaving] = pids()
    process.kill(leaving!, 'SIGTERM')
    await server.line('worker retired', ({ generationPid }) => generationPid === leaving)
    while (pids().includes(leaving)) await sleep(5)
  }
  await endAll(t, talkers)
})

t.test('those whom a new version would not have are told to come again by it, and streams end', async t => {
  const house = await start(t)
  const { server, ports } = house
  const talkers = await party(t, house, 6)
  const stream = await get(t, ports[0]!, '/ticks')
  const numbers = await get(t, ports[0]!, '/numbers?last=100000')
  server.deploy({ refuse: true })
  await server.reload()
  for (const { closed, wrong } of talkers) {
    t.equal(await closed, 1012)
    t.same(wrong, [])
  }
  t.match(await stream.text, /\n\r\n0\r\n\r\n$/, 'the last chunk')
  const text = await numbers.text
  t.match(text, /\n\r\n$/, 'what is not whole does not look so')
  t.notMatch(text, /\r\n0\r\n/)
  t.match(await server.line('a kept connection is answered otherwise now, and ends'), { status: 401 })
  t.match(await server.line('generation retired'), { kept: 8, told: 0, cut: 0 })
})

t.test('without a state a WebSocket is told to come again, and the log names the route', async t => {
  const house = await start(t, { release: { moves: true } })
  const { server } = house
  const lost = [
    await startTalking(t, house.ports[0]!, { name: 'a', query: '&save=throws' }),
    await startTalking(t, house.ports[1]!, { name: 'b', query: '&save=nothing' })
  ]
  const kept = await startTalking(t, house.ports[0]!, { name: 'c' })
  const body = '{"question":"why?"}'
  const asked = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  const answers = [1, 2].map(id => get(t, house.ports[0]!, `/ask/${id}`, asked, 'POST'))
  for (const answer of answers) await (await answer).said(/data: why\?/)
  await server.reload()
  for (const { closed } of lost) t.equal(await closed, 1012)
  for (const answer of answers) await (await answer).said(/event: bye\n\n\r\n0\r\n\r\n$/)
  const noBody = 'a stream is not kept: the body of its request can not be sent again'
  t.equal((await server.line(noBody)).route, 'POST /ask/1')
  t.equal(server.lines.filter(({ msg }) => msg === noBody).length, 1, 'once for a route')
  await heard([kept], 2)
  for (const message of ['on purpose', 'the state is no JSON, but undefined']) {
    const { route } = await server.line(
      'a connection is not kept: no state',
      ({ err }) => err.message === message
    )
    t.equal(route, 'GET /chat')
  }
  t.match(await server.line('drains'), { reason: 'upgrade', moves: true }, 'a hook knows who will move')
  t.match(await server.line('drained', ({ kept }) => kept > 0), {
    kept: 1,
    told: 1,
    kinds: { webSocket: { kept: 1 } }
  })
  server.deploy({ careless: true })
  await server.reload()
  await heard([kept], 3)
  await server.reload()
  t.equal(await kept.closed, 1012, 'a version that does not keep it closes it')
})

t.test('a shutdown tells kept ones, too', async t => {
  const house = await start(t, { release: { moves: true } })
  const [talker] = await party(t, house, 1)
  house.server.kill('SIGTERM')
  t.equal(await talker!.closed, 1001)
  t.match(await house.server.line('drains'), { reason: 'close', moves: false })
})

t.test('the new process is killed in the middle: what it has adopted closes, all others go on', async t => {
  const house = await start(t, { supervised: [] })
  const { server } = house
  const talkers = await party(t, house, 60, { pause: 100 })
  const last = await startHalf(t, house.ports[1]!, 'last') // all others may have gone when it is seen that one has
  await server.reload()
  const adopted = () => talkers.filter(({ greetings }) => greetings.at(-1)?.generation === 2)
  while (adopted().length === 0) await sleep(1)
  process.kill(adopted()[0]!.greetings.at(-1)!.pid, 'SIGKILL')
  await server.line('generation ready', ({ generation }) => generation === 3)
  last.finish()
  for (const { socket, closed, greetings, generations } of [...talkers, last]) {
    while (generations.at(-1) !== 3 && socket.readyState !== socket.CLOSED) await sleep(5)
    if (generations.at(-1) === 3) continue
    t.equal(await closed, 1006)
    t.ok(greetings.at(-1)!.generation <= 2)
  }
  const isOpen = ({ socket }: Talker) => socket.readyState === socket.OPEN
  const open = talkers.filter(isOpen)
  t.comment(`${60 - open.length} closed`)
  t.ok(open.length < 60)
  t.ok(isOpen(last))
  t.same(last.wrong, [])
  await endAll(t, open)
})

/** In the middle of a compressed message of two fragments: it doesn't move before that is finished. */
async function startHalf(t: Test, port: number, name: string) {
  const talker = await startTalking(t, port, { name, pause: 1e9 }) // it says one thing by itself
  const { socket } = talker
  socket.send('2 20 ', { fin: false })
  socket.ping()
  await once(socket, 'pong')
  return { ...talker, finish: () => socket.send('x'.repeat(15), { fin: true }) }
}

t.test('a handler throws: whoever was in it is told to come again, all others go on', async t => {
  const house = await start(t, { supervised: [] })
  const talkers = await party(t, house, 12)
  const one = new WebSocket(`ws://127.0.0.1:${house.ports[0]}/chat?name=one`)
  t.teardown(() => one.terminate())
  await once(one, 'open')
  one.send('crash')
  t.equal((await once(one, 'close'))[0], 1012)
  await heard(talkers, 2)
  t.match(await house.server.line('drained', ({ told }) => told > 0), { told: 1, cut: 0 })
  await endAll(t, talkers)
})

t.test('the master is killed in the middle: nobody hangs, and nothing is broken', async t => {
  const house = await start(t, { supervised: [], release: { options: { drainTimeout: 3_000 } } })
  const { server } = house
  const talkers = await party(t, house, 30)
  await server.reload()
  while (!talkers.some(({ generations }) => generations.at(-1) === 2)) await sleep(1)
  server.kill('SIGKILL')
  const isOpen = ({ socket }: Talker) => socket.readyState === socket.OPEN
  for (const { socket, closed, generations, wrong } of talkers) {
    while (generations.at(-1) !== 2 && socket.readyState !== socket.CLOSED) await sleep(10)
    if (socket.readyState === socket.CLOSED) t.ok([1012, 1006].includes(await closed))
    t.same(wrong, [])
  }
  const open = talkers.filter(isOpen)
  t.comment(`${open.length} of 30 have moved`)
  await endAll(t, open)
})

t.test('who is let in when all others have gone is told to come again, and not forgotten', async t => {
  const { server, ports } = await start(t)
  const late = startTalking(t, ports[4]!, { name: 'late', query: '&when=drained' })
  await server.line('somebody asks to be let in')
  await server.reload()
  const { closed, wrong } = await late
  t.equal(await closed, 1012)
  t.same(wrong, [])
  t.match(await server.line('generation retired'), { told: 1, cut: 0 })
})

t.test(
  'who has come from an older generation, and is not let in again when this one drains, is waited for',
  async t => {
    const { server, ports } = await start(t, { supervised: [] })
    const talker = await startTalking(t, ports[4]!, { name: 'slow', query: '&when=drains' })
    await server.line('somebody asks to be let in')
    await server.reload()
    await server.line('somebody asks to be let in')
    await server.reload()
    await heard([talker], 3)
    t.same(talker.generations, [1, 2, 3])
    await endAll(t, [talker])
  }
)

t.test('a message in the middle of its compressed fragments is waited for, and told to in time', async t => {
  const house = await start(t, { release: { options: { drainTimeout: 3_000 } } })
  const { server, ports } = house
  const [slow, fast] = [await startHalf(t, ports[1]!, 'slow'), await startHalf(t, ports[1]!, 'fast')]
  const others = await party(t, house, 3)
  await server.reload()
  await heard(others, 2)
  t.same([slow.generations, fast.generations], [[1], [1]], 'these two wait')
  fast.finish()
  await heard([fast], 2)
  t.equal(await slow.closed, 1012, 'before it would be cut')
  t.match(await server.line('generation retired'), { kept: 4, told: 1, cut: 0 })
  await endAll(t, others)
})

t.test(
  'a new process at its descriptor limit refuses, and those whom it refuses are told to come again',
  { skip: process.platform !== 'linux' },
  async t => {
    const house = await start(t, { supervised: [] })
    const { server } = house
    const talkers = await party(t, house, 40, { pause: 100 })
    server.deploy({ spareDescriptors: 15 })
    await server.reload()
    const { kept, told, cut } = await server.line('generation retired')
    t.equal(kept + told, 40)
    t.equal(cut, 0)
    t.ok(kept > 0 && told > 0, `${kept} are kept, ${told} told`)
    const isOpen = ({ socket }: Talker) => socket.readyState === socket.OPEN
    t.equal(talkers.filter(isOpen).length, kept)
    for (const talker of talkers) {
      if (!isOpen(talker)) t.equal(await talker.closed, 1012)
      t.same(talker.wrong, [])
    }
    await heard(talkers.filter(isOpen), 2)
  }
)

t.test('a busy worker gives some of its WebSockets to one that has nothing to do', async t => {
  const house = await start(t, { supervised: ['--workers', '1'] })
  const { server } = house
  const talkers = await party(t, house, 12, { pause: 6 })
  const pids = () => new Set(talkers.map(({ greetings }) => greetings.at(-1)?.pid))
  server.kill('SIGTTIN')
  await server.line('scaled')
  const { how, gone } = await server.line('connections shared', ({ gone }) => gone > 0)
  t.equal(how, 'move')
  t.ok(gone < 12, `${gone} have moved`)
  while (pids().size < 2) await sleep(5)
  await endAll(t, talkers)
})
