/** What can't be handed over is told to go, in the words of its protocol. */
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type LogLine, startServer } from '../helper/server.ts'
import { ask } from '../helper/supervised.ts'

const fixture = 'long-lived.js'
const handshake =
  'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

interface Talk {
  readonly socket: WebSocket
  readonly messages: string[]
  readonly closed: Promise<{ code: number; reason: string; at: number }>
}

async function talk(t: Test, port: number): Promise<Talk> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`)
  t.teardown(() => socket.terminate())
  const messages: string[] = []
  socket.on('message', data => messages.push(String(data)))
  const closed = once(socket, 'close').then(([code, reason]) => ({
    code: code as number,
    reason: String(reason),
    at: performance.now()
  }))
  await once(socket, 'message')
  return { socket, messages, closed }
}

function isEnd({ msg }: LogLine): boolean {
  return msg === 'talk ended'
}

for (const plain of [false, true]) {
  const kind = plain ? 'a WebSocket of ws alone' : 'a WebSocket of @fastify/websocket'

  t.test(`${kind} is told to go, and the application hears of it before its process ends`, async t => {
    const server = startServer(t, { fixture, release: { plain, goodbye: true } })
    const port = await server.port()

    await t.test('1012 on an upgrade, behind all messages', async t => {
      const { messages, closed } = await talk(t, port)
      await server.reload()
      t.match(await closed, { code: 1012, reason: 'service restart' })
      t.same(messages, ['{"generation":1}', '{"goodbye":"upgrade"}'])
      t.match(await server.line('drained'), { told: 1, finished: 1, cut: 0 })
      t.match(await server.line('generation retired'), { generation: 1, code: 0 })
    })

    await t.test('also in a generation that ends as a process', async t => {
      const { messages, closed } = await talk(t, port)
      t.same(messages, ['{"generation":2}'], 'who comes again meets the new generation')
      await server.reload()
      t.match(await closed, { code: 1012 })
      await server.line('generation retired', ({ generation }) => generation === 2)
      t.match(server.lines.filter(isEnd), [
        { generation: 1, code: 1012 },
        { generation: 2, code: 1012 }
      ])
    })

    await t.test('1001 on a shutdown', async t => {
      const { closed } = await talk(t, port)
      const outputEnded = once(server.child, 'close')
      server.kill('SIGTERM')
      t.match(await closed, { code: 1001, reason: 'going away' })
      t.same(await server.exit(), { code: 0, signal: null })
      await outputEnded
      t.match(server.lines.filter(isEnd).at(-1), { generation: 3, code: 1001 })
    })
  })

  t.test(`${kind} whose client does not answer is cut at the deadline`, async t => {
    const server = startServer(t, { fixture, release: { plain, options: { drainTimeout: 1_500 } } })
    const port = await server.port()
    const socket = net.connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.write(handshake)
    let received = Buffer.alloc(0)
    socket.on('data', chunk => (received = Buffer.concat([received, chunk])))
    await once(socket, 'data')
    const ended = once(socket, 'end')
    const begun = performance.now()
    await server.reload()
    await ended
    t.ok(performance.now() - begun >= 1_400, 'it had the whole time')
    t.same(
      [...received.subarray(-19, -15)],
      [0x88, 17, 0x03, 0xf4],
      'the last frame is a close frame with 1012'
    )
    t.match(await server.line('cutting detached connections'), { reason: 'upgrade', detached: 1 })
    await server.line('generation retired')
  })
}

t.test('a WebSocket whose handshake ends during the drain is told too', async t => {
  const server = startServer(t, { fixture, release: { options: { spreadTime: 0, pollInterval: 50 } } })
  const port = await server.port()
  const { closed: early } = await talk(t, port)
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat?late=1000`)
  t.teardown(() => socket.terminate())
  const closed = once(socket, 'close')
  const opened = once(socket, 'open')
  while ((await ask(port)).count.active < 2) await sleep(5) // the one that asks is one
  await server.reload()
  t.match(await early, { code: 1012 })
  await opened
  t.equal((await closed)[0], 1012)
})

t.test('a WebSocket whose handshake ends while others are told is told in our words', async t => {
  const server = startServer(t, { fixture, release: { options: { spreadTime: 2_000, pollInterval: 20 } } })
  const port = await server.port()
  const early = [await talk(t, port), await talk(t, port)]
  const late = net.connect(port, '127.0.0.1')
  t.teardown(() => late.destroy())
  late.write(handshake.slice(0, -2))
  while ((await ask(port)).count.active < 2) await sleep(5) // the one that asks is one
  await server.reload()
  await Promise.race(early.map(({ closed }) => closed))
  let received = Buffer.alloc(0)
  late.on('data', chunk => (received = Buffer.concat([received, chunk])))
  late.write('\r\n') // with it no request is left, and the other is told in a second only
  while (!received.includes('{"generation":1}')) await once(late, 'data')
  const greeted = received.length
  while (received.length === greeted) await once(late, 'data')
  t.same([...received.subarray(greeted, greeted + 4)], [0x88, 17, 0x03, 0xf4], 'a close frame with 1012')
})

t.test('WebSockets are told one after the other over spreadTime', async t => {
  const server = startServer(t, { fixture, release: { options: { spreadTime: 1_000 } } })
  const port = await server.port()
  const talks = await Promise.all(Array.from({ length: 50 }, () => talk(t, port)))
  await server.reload()
  const times = (await Promise.all(talks.map(({ closed }) => closed))).map(({ code, at }) => {
    t.equal(code, 1012)
    return at
  })
  times.sort((a, b) => a - b)
  const spread = times.at(-1)! - times[0]!
  t.ok(spread > 800 && spread < 2_000, `${spread} ms from the first to the last`)
  t.ok(times[25]! - times[0]! > 300, 'half of them in half of the time')
  t.match(await server.line('drained'), { told: 50 })
})

t.test('a message that is on its way when the drain begins is answered', async t => {
  const server = startServer(t, { fixture, release: { options: { spreadTime: 0 } } })
  const { socket, messages, closed } = await talk(t, await server.port())
  let sent = 0
  const timer = setInterval(() => {
    if (socket.readyState === WebSocket.OPEN) socket.send(String(++sent))
  }, 1)
  t.teardown(() => clearInterval(timer))
  while (messages.length <= 10) await sleep(1)
  await server.reload()
  await closed
  clearInterval(timer)
  const answers = messages.slice(1).map(Number)
  t.same(
    answers,
    answers.map((_, index) => index + 1),
    'none was lost before the last'
  )
  t.ok(answers.length >= 10)
})

t.test('onDrain may end event streams in its own words, and WebSockets are told after it', async t => {
  const server = startServer(t, { fixture, release: { hook: 300 } })
  const port = await server.port()
  const { closed } = await talk(t, port)
  const stream = await events(t, port)
  const begun = performance.now()
  await server.reload()
  t.equal(await stream.text(), 'data: generation 1\n\nretry: 10\nevent: goodbye\ndata: upgrade\n\n')
  t.ok((await closed).at - begun >= 300)
  await server.line('said goodbye')
  t.match(await server.line('drained'), { told: 1, cut: 0, kinds: { webSocket: { finished: 1 } } })
})

t.test('an onDrain hook that fails is logged, and the drain goes on', async t => {
  const server = startServer(t, { fixture, release: { hook: 1, hookFails: true } })
  const { closed } = await talk(t, await server.port())
  await server.reload()
  t.match(await server.line('an onDrain hook failed'), { err: { message: 'the hook fails' } })
  t.match(await closed, { code: 1012 })
  t.match(await server.line('generation retired'), { code: 0 })
})

t.test('an event stream that nobody ends is ended at the deadline', async t => {
  const server = startServer(t, { fixture, release: { options: { drainTimeout: 700 } } })
  const stream = await events(t, await server.port())
  const begun = performance.now()
  await server.reload()
  await t.rejects(stream.text(), { code: 'ECONNRESET' }, 'its chunked body has no end')
  t.ok(performance.now() - begun >= 600)
  t.match(await server.line('drained'), { cut: 1 })
})

t.test('a response whose request body nobody reads arrives whole, though its connection ends', async t => {
  const server = startServer(t, { fixture, release: { options: { handover: 'idle' } } })
  const port = await server.port()
  const holder = await events(t, port) // the drain lasts
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  let received = ''
  let failure: Error | undefined
  socket.on('data', chunk => (received += chunk.toString('latin1')))
  socket.on('error', error => (failure = error))
  const closed = new Promise(resolve => socket.once('close', resolve))
  // The server has seen the connection, and accepts no more of them in a moment.
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket, 'data')
  const body = Buffer.alloc(2 * 1_024 * 1_024, 'b')
  socket.write(`POST /early HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Length: ${body.length}\r\n`)
  await sleep(50) // half a head: this generation answers it
  await server.reload()
  received = ''
  socket.write('\r\n')
  for (let at = 0; at < body.length && !failure; at += 65_536) {
    socket.write(body.subarray(at, at + 65_536))
    await sleep(2)
  }
  socket.end()
  await closed
  t.equal(failure, undefined)
  t.match(received, /^HTTP\/1\.1 413 /)
  t.match(received, /connection: close/i)
  t.equal(received.split('\r\n\r\n')[1]!.length, 100_000)
  holder.destroy()
})

t.test('on a shutdown, too, nothing is left behind', async t => {
  const server = startServer(t, { fixture, release: { hook: 100 } })
  const port = await server.port()
  const talks = await Promise.all(Array.from({ length: 5 }, () => talk(t, port)))
  const stream = await events(t, port)
  t.match((await ask(port)).count, { detached: 5 })
  server.kill('SIGTERM')
  t.match(await stream.text(), /event: goodbye\ndata: close/)
  for (const { closed } of talks) t.match(await closed, { code: 1001 })
  t.same(await server.exit(), { code: 0, signal: null })
})

async function events(t: Test, port: number) {
  const request = http.get({ port, host: '127.0.0.1', path: '/events', agent: false })
  t.teardown(() => request.destroy())
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  response.setEncoding('utf8').on('data', chunk => (text += chunk))
  const ended = once(response, 'end')
  ended.catch(() => {})
  if (text === '') await once(response, 'data')
  return {
    destroy: () => request.destroy(),
    async text() {
      await ended
      return text
    }
  }
}
