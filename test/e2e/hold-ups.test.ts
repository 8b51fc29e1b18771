/** What holds up a drain has a name: in the log, in what `reload` and `status` say, and when it is cut. */
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ask } from '../../lib/client/ask.js'
import { findMaster } from '../../lib/client/find.js'
import { graceful } from '../helper/graceful.ts'
import { type LogLine, startServer } from '../helper/server.ts'

const handshake =
  'GET /chat?token=secret HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

/** A client that says this, and then nothing any more. */
async function silent(t: Test, port: number, words: string): Promise<Socket> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(words)
  return socket
}

t.test('a handler that hangs, and a WebSocket that stays', async t => {
  const release = { options: { drainTimeout: 4_000, spreadTime: 0, pollInterval: 100 } }
  const server = startServer(t, { fixture: 'long-lived.js', supervised: [], release })
  const port = await server.port()
  const pid = String(server.pid)
  const webSocket = await silent(t, port, handshake)
  await once(webSocket, 'data')
  webSocket.resume()
  const hanging = await silent(
    t,
    port,
    'GET /hang/a%0ab?token=secret HTTP/1.1\r\nHost: a\r\nX-Request-Id: request-7\r\n\r\n'
  )
  hanging.resume()
  const held = [
    { kind: 'request', method: 'GET', url: '/hang/a%0ab', id: 'request-7', ms: Number },
    { kind: 'webSocket', url: '/chat', ms: Number }
  ]
  while ((await statusOf(pid)).generations[0]!.connections!.active < 1) await sleep(10)
  t.notOk('heldUpBy' in (await statusOf(pid)).generations[0]!, 'nothing is said while nothing is under way')

  const reload = graceful(['reload', pid])
  t.match(await server.line('draining'), { generation: undefined, heldUpBy: held })
  const drains = (await statusOf(pid)).generations.find(({ state }) => state === 'draining')
  t.match(drains, { generation: 1, heldUpBy: held })
  const timedOut = await server.line(/^drain timed out/)
  t.match(timedOut.heldUpBy, held)
  t.ok(timedOut.heldUpBy.every(({ ms }: { ms: number }) => ms >= 4_000))
  t.match(await server.line(/^cutting detached/), { cutOff: [held[1]] })
  t.match(await server.line('generation retired'), { cut: 2, cutOff: held })

  const { code, stdout, stderr } = await reload
  t.equal(code, 0)
  t.match(stdout, /^generation 1 draining: .*; waits for GET \/hang\/a%0ab, WebSocket \/chat$/m)
  t.match(stderr, /1 HTTP\/1\.1 request, 1 WebSocket, .*: GET \/hang\/a%0ab, WebSocket \/chat\n$/)
  t.match((await statusOf(pid)).upgrades[0], { generation: 2, report: { cutOff: held } })
  t.match((await graceful(['status', pid])).stdout, / ready, cut GET \/hang\/a%0ab, WebSocket \/chat$/m)
  const lines = server.lines.map((line: LogLine) => JSON.stringify(line)).join()
  t.notMatch(lines + stdout + stderr, /secret/, 'what may be secret is told to nobody')
})

async function statusOf(pid: string) {
  return ask(await findMaster(pid), 'status')
}
