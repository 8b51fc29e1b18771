/** WebSockets and event streams that stay: against real servers. */
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import * as undici from 'undici'
import { type WebSocket, WebSocketServer } from 'ws'
import { keepEventStreams } from '../../../lib/rehearsal/event-streams.js'
import { createStay, isFriendly } from '../../../lib/rehearsal/stay.js'
import { keepWebSockets } from '../../../lib/rehearsal/web-sockets.js'

async function setUp(t: Test, listener: RequestListener = (_, response) => response.writeHead(404).end()) {
  const server = createServer(listener)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const ending = new AbortController()
  const lost: string[] = []
  const witness = { lost: (what: string, { kind }: { kind: string }) => void lost.push(`${what}: ${kind}`) }
  const stay = { ...createStay('it'), clients: 1 }
  t.teardown(() => server.close().closeAllConnections())
  const target = { origin: `http://127.0.0.1:${port}`, protocol: 'http/1.1', bound: '' } as const
  return { server, target, stay, witness, lost, ending }
}

async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !condition(); ) {
    if (performance.now() > end) throw new Error('it has not come')
    await sleep(2)
  }
}

t.test('a WebSocket that is closed comes again, and is counted by its code', async t => {
  const { server, target, stay, witness, lost, ending } = await setUp(t)
  const codes = [1012, 1011, undefined] as const
  let opened = 0
  const sockets = new WebSocketServer({ server }).on('connection', (socket: WebSocket) => {
    socket.send('hello')
    const code = codes[opened++]
    if (code !== undefined) socket.close(code)
    else if (opened === 3) setTimeout(() => socket.terminate(), 20)
  })
  const ended = keepWebSockets(undici, target, '/chat', stay, witness, ending.signal)
  await until(() => opened === 4)
  await until(() => stay.received === 4)
  ending.abort()
  await ended
  t.match(stay, { opened: 4, closed: { 1012: 1, 1011: 1, 1006: 1 }, received: 4 })
  t.same(lost, ['it: other', 'it: eof'], 'a restart is no loss')
  sockets.close()
})

t.test('a WebSocket that can not be opened is one that is lost', async t => {
  const { target, stay, witness, lost, ending } = await setUp(t)
  const ended = keepWebSockets(undici, target, '/chat', stay, witness, ending.signal)
  await until(() => lost.length === 1)
  ending.abort()
  await ended
  t.same(lost, ['it: handshake'])
  t.equal(stay.opened, 0)
})

t.test('events that are missed, or come twice, are found by their numbers', async t => {
  const asked: (string | undefined)[] = []
  const { target, stay, witness, lost, ending } = await setUp(t, (request, response) => {
    asked.push(request.headers['last-event-id'] as string | undefined)
    if (asked.length === 1)
      return response.end('retry: 10\n\nid: 1\ndata: a\n\nid: 2\r\ndata: b\r\n\r\nid: 5\ndata: c\n\n')
    if (asked.length === 2) response.write('id: 5\ndata: c\n\n', () => response.destroy())
    else response.write('id: 6\ndata: d\n\n')
  })
  const ended = keepEventStreams(undici, target, '/feed', stay, witness, ending.signal)
  await until(() => stay.received === 5)
  ending.abort()
  await ended
  t.same(asked, [undefined, '5', '5'])
  t.match(stay, { opened: 3, closed: { end: 1, cut: 1 }, missed: 2, doubled: 1 })
  t.same(lost, ['it: cut body'])
})

t.test('which ends are friendly', async t =>
  t.same(['1000', '1012', 'end', '1006', '1011', 'cut'].map(isFriendly), [
    true,
    true,
    true,
    false,
    false,
    false
  ])
)
