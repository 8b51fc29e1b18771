/** Clients of all kinds whose connections outlive the process: they notice nothing, or come again by themselves. */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import t, { type Test } from 'tap'
import { EventSource, WebSocket as WebSocketOfUndici } from 'undici'
import { haproxy } from '../helper/haproxy.ts'
import { endAll, get, heard, party, start } from '../helper/kept.ts'
import { nginx } from '../helper/nginx.ts'
import { missing } from '../helper/program.ts'
import { startProxy } from '../helper/proxy.ts'
import { noPythonWebSockets, talkInPython } from '../helper/python.ts'

t.test(
  'streams go on where they were, and then the connection is an ordinary one of the new process',
  async t => {
    const { server, ports } = await start(t)
    const streams = [
      await get(t, ports[0]!, '/ticks?last=400'),
      await get(t, ports[0]!, '/numbers?last=400'),
      await get(t, ports[0]!, '/numbers?last=400&length=3200')
    ]
    const endless = await get(t, ports[0]!, '/ticks')
    for (let upgrade = 1; upgrade <= 2; upgrade++) {
      await server.reload()
      t.match(await server.line('generation retired'), { kept: 4, cut: 0 })
    }
    for (const { numbers, client } of streams) {
      while ((await numbers()).length < 400) await sleep(10)
      t.same(
        await numbers(),
        Array.from({ length: 400 }, (_, index) => index + 1)
      )
      client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    }
    for (const { said } of streams) {
      const answer = await said(/"count".*}/)
      t.match(answer, /"generation":3,/)
      t.match(answer, /"restored":null/, 'a later request is none that was restored')
      t.equal(answer.match(/HTTP\/1\.1 200/g)!.length, 2, 'one head for the stream, and one for this')
    }
    await server.reload()
    t.match(await server.line('generation retired'), { kept: 1, moved: 3, cut: 0 }, 'they move as idle ones')
    t.notOk(endless.client.destroyed)
  }
)

for (const proxy of [nginx, haproxy]) {
  t.test(
    `WebSockets and event streams behind ${proxy.name} go on`,
    { skip: missing(proxy.name) },
    async t => {
      const house = await start(t)
      const { server, ports } = house
      const fronts = await Promise.all(ports.map(port => startProxy(t, proxy, { port })))
      const behind = { ...house, ports: fronts.map(({ address }) => address.port) }
      const talkers = await party(t, behind, 9)
      const events = await listen(t, behind.ports[0]!)
      for (let generation = 2; generation <= 4; generation++) {
        await server.reload()
        await heard(talkers, generation)
        await events.heard(generation)
        t.match(await server.line('generation retired'), { kept: 10, told: 0, cut: 0 })
      }
      await endAll(t, talkers)
      t.same(events.wrong, [])
    }
  )
}

t.test('clients of others miss nothing, and never come again', async t => {
  const { server, ports } = await start(t, { release: { sse: true } })
  const sources = await Promise.all(['/ticks', '/sse'].map(route => listen(t, ports[0]!, route)))
  if (noPythonWebSockets) t.comment(noPythonWebSockets)
  const inPython = noPythonWebSockets ? [] : ports.slice(0, 3)
  const snakes = await Promise.all(inPython.map(port => talkInPython(t, port)))
  const browsers = await Promise.all(ports.slice(0, 3).map(port => talkLikeBrowsers(t, port)))
  for (let generation = 2; generation <= 5; generation++) {
    await server.reload()
    await Promise.all([...sources, ...snakes, ...browsers].map(each => each.heard(generation)))
    t.match(await server.line('generation retired'), { kept: 5 + snakes.length, told: 0, cut: 0 })
  }
  for (const { wrong, count } of [...sources, ...browsers]) {
    t.same(wrong, [])
    t.ok(count() > 20, `${count()} events`)
  }
  for (const { end } of snakes) t.match(await end(), /^closed with 1000 after [1-9]\d* messages$/)
})

t.test('a protocol of its own goes on, with what was read of it, behind an upgrade or CONNECT', async t => {
  const { server, ports } = await start(t)
  const all = [
    await get(t, ports[3]!, '/', 'Connection: Upgrade\r\nUpgrade: sums\r\n'),
    await get(t, ports[3]!, 'sums.test:1', '', 'CONNECT')
  ]
  for (const { client, said } of all) {
    client.write('1\n2\n3\n1')
    await said(/6 1\n/)
  }
  await server.reload()
  t.match(await server.line('generation retired'), { kept: 2 })
  for (const { client, said } of all) {
    client.write('0\n')
    t.match(await said(/ 2\n/), /^HTTP\/1.1 (101|200) [\s\S]*\r\n\r\n1 1\n3 1\n6 1\n16 2\n$/)
  }
})

t.test('socket.io comes again by itself, and says then what it could not say', async t => {
  const { server, ports } = await start(t, { release: { io: true } })
  const all = [['websocket'], ['polling', 'websocket']].map(transports => {
    const client = io(`http://127.0.0.1:${ports[5]}`, { transports, reconnectionDelay: 20, forceNew: true })
    t.teardown(() => client.disconnect())
    const hellos: { generation: number; recovered: boolean }[] = []
    const ends: string[] = []
    client.on('hello', hello => hellos.push(hello))
    client.on('disconnect', reason => ends.push(reason))
    return { client, hellos, ends }
  })
  while (
    all.some(({ client, hellos }) => hellos.length === 0 || client.io.engine.transport.name !== 'websocket')
  )
    await sleep(5)
  await server.reload()
  for (const { client, hellos, ends } of all) {
    while (ends.length === 0) await sleep(5)
    t.equal(await client.emitWithAck('say', 1), 1, 'it waits until there is somebody to hear it')
    t.same(ends, ['transport close'])
    t.match(hellos, [
      { generation: 1, recovered: false },
      { generation: 2, recovered: false }
    ])
  }
  t.match(await server.line('generation retired'), { told: 2, cut: 0 })
})

/** A WebSocket as browsers have it, in the chat. */
async function talkLikeBrowsers(t: Test, port: number) {
  const socket = new WebSocketOfUndici(`ws://127.0.0.1:${port}/chat?name=browser`)
  t.teardown(() => socket.close())
  const wrong: string[] = []
  let [asked, answered, newest] = [0, 0, 0]
  socket.addEventListener('message', ({ data }) => {
    const { number, right, generation } = JSON.parse(data)
    if (number !== undefined && (number !== ++answered || !right)) wrong.push(data)
    newest = generation
  })
  socket.addEventListener('error', () => wrong.push('error'))
  await once(socket, 'open')
  socket.addEventListener('close', ({ code }) => wrong.push(`closed with ${code}`))
  const timer = setInterval(() => socket.send(`${++asked} 400 `.padEnd(400, String(Math.random()))), 10)
  t.teardown(() => clearInterval(timer))
  return {
    wrong,
    count: () => answered,
    async heard(generation: number) {
      while (newest !== generation) await sleep(5)
    }
  }
}

/** An EventSource of the ticks. */
async function listen(t: Test, port: number, route = '/ticks') {
  const source = new EventSource(`http://127.0.0.1:${port}${route}`)
  t.teardown(() => source.close())
  const wrong: string[] = []
  let count = 0
  let newest = 0
  source.addEventListener('message', ({ data }) => {
    const [number, generation] = data.match(/\d+/g)!.map(Number)
    if (number !== ++count) wrong.push(`${number} for ${count}`)
    newest = generation
  })
  await once(source, 'open')
  source.addEventListener('error', () => wrong.push('error'))
  source.addEventListener('open', () => wrong.push('opened again'))
  return {
    wrong,
    count: () => count,
    async heard(generation: number) {
      while (newest !== generation) await sleep(5)
    }
  }
}
