/** Real WebSockets of the package `ws`, both ends in this process. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { endWebSockets, type WebSocketsOptions } from '../../../lib/drain/web-sockets.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { type Followed, follow, until } from '../../helper/accepted.ts'

interface Chat extends Followed {
  join(): Promise<WebSocket>
}

async function chat(t: Test): Promise<Chat> {
  const server = http.createServer()
  const sockets = new WebSocketServer({ server })
  const followed = await follow(t, server)
  const clients: WebSocket[] = []
  t.teardown(() => {
    for (const client of [...clients, ...sockets.clients]) client.terminate()
  })
  return {
    ...followed,
    async join() {
      const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
      clients.push(client)
      await Promise.all([once(client, 'open'), once(sockets, 'connection')])
      return client
    }
  }
}

function end({ list }: Chat, options: Partial<WebSocketsOptions> = {}) {
  let told = 0
  const ending = endWebSockets([list], {
    reason: () => 'upgrade',
    spreadTime: 0,
    begin: Promise.resolve(),
    signal: new AbortController().signal,
    onTold: () => void told++,
    ...options
  })
  return { ...ending, told: () => told }
}

for (const [reason, code, text] of [
  ['upgrade', 1012, 'service restart'],
  ['close', 1001, 'going away']
] as const) {
  t.test(`on ${reason} a WebSocket is told ${code}, once`, async t => {
    const room = await chat(t)
    const client = await room.join()
    const closed = once(client, 'close')
    const { firstTold, tellLate, told } = end(room, { reason: () => reason })
    await firstTold
    tellLate()
    const [gotCode, gotText] = await closed
    t.same([gotCode, String(gotText)], [code, text])
    t.equal(told(), 1)
  })
}

t.test(
  'nobody is told before the application has said goodbye, and one that comes then is told too',
  async t => {
    const room = await chat(t)
    await room.join()
    const { promise: begin, resolve } = createDeferred()
    const { firstTold, tellLate, told } = end(room, { begin })
    tellLate()
    await new Promise(setImmediate)
    t.equal(told(), 0)
    resolve()
    await firstTold
    t.equal(told(), 1)
    const late = await room.join()
    const closed = once(late, 'close')
    tellLate()
    t.equal((await closed)[0], 1012)
    t.equal(told(), 2)
  }
)

t.test('those that come late are told until all connections are gone', async t => {
  const room = await chat(t)
  const gone = createDeferred()
  const { firstTold, keepTelling, told } = end(room)
  await firstTold
  keepTelling(1, gone.promise)
  const [code] = await once(await room.join(), 'close')
  t.equal(code, 1012)
  gone.resolve()
  await gone.promise
  await new Promise(setImmediate)
  const last = await room.join()
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  await until(() => ticks === 5)
  clearInterval(timer)
  t.equal(last.readyState, WebSocket.OPEN)
  t.equal(told(), 1)
})

t.test('they are told one after the other, until nobody is waited for any longer', async t => {
  const room = await chat(t)
  for (let client = 0; client < 4; client++) await room.join()
  const timeUp = new AbortController()
  const { firstTold, told } = end(room, { spreadTime: 4 * 60_000, signal: timeUp.signal })
  await until(() => told() > 0)
  await new Promise(setImmediate)
  t.equal(told(), 1, 'the next one in a minute')
  timeUp.abort()
  await firstTold
  t.equal(told(), 4)
})
