/** Idle connections that don't move end one after the other, and what became of all is told by kind. */
import { once } from 'node:events'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { makeCertificate } from '../helper/certificate.ts'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { startServer } from '../helper/server.ts'

const request = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n'
/** In milliseconds. */
const idleSpreadTime = 3_000
const env = { GRACEFUL_UPGRADE_IDLE_SPREAD_TIME: String(idleSpreadTime) }

interface IdleClient {
  /** When it was ended (performance.now()), and what had come until then besides. */
  readonly ended: Promise<{ readonly at: number; readonly rest: string }>
}

/** A connection that has had one answer. */
async function idleClient(t: Test, socket: Socket): Promise<IdleClient> {
  t.teardown(() => socket.destroy())
  socket.write(request)
  let text = ''
  socket.on('data', chunk => (text += chunk))
  while (!text.endsWith('}')) await once(socket, 'data')
  text = ''
  const ended = once(socket, 'end').then(() => ({ at: performance.now(), rest: text }))
  return { ended }
}

async function idleClients(t: Test, connect: () => Socket, count: number): Promise<IdleClient[]> {
  return Promise.all(Array.from({ length: count }, () => idleClient(t, connect())))
}

async function endGradually(t: Test, clients: readonly IdleClient[], begun: number): Promise<void> {
  const ends = await Promise.all(clients.map(({ ended }) => ended))
  t.same(new Set(ends.map(({ rest }) => rest)), new Set(['']), 'each by a FIN, without a word')
  const times = ends.map(({ at }) => Math.round(at - begun)).sort((a, b) => a - b)
  t.ok(times.at(-1)! - times[0]! > idleSpreadTime / 6, `at different times: ${times.join(', ')} ms`)
}

for (const way of ['SIGHUP', 'SIGTERM'] as const) {
  t.test(
    `on ${way} idle connections that don't move end one after the other over idleSpreadTime`,
    async t => {
      const server = startServer(t, {
        env,
        release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: false } }
      })
      const port = await server.port()
      const clients = await idleClients(t, () => net.connect(port, '127.0.0.1'), 40)
      const begun = performance.now()
      server.kill(way)
      await endGradually(t, clients, begun)
      t.match(await server.line('drained'), { finished: 40, told: 0, cut: 0 })
    }
  )
}

t.test('without idleSpreadTime an idle connection that does not move stays, and is answered', async t => {
  const server = startServer(t, {
    release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: false } }
  })
  const client = new Client({ host: '127.0.0.1', port: await server.port() })
  t.teardown(() => client.close())
  await client.get('/')
  server.kill('SIGHUP')
  await server.line('draining', ({ ms }) => ms >= idleSpreadTime)
  const { headers, body } = await client.get('/')
  t.match({ ...headers, ...JSON.parse(body.toString()) }, { connection: 'close', generation: 1 })
})

t.test('idle connections over TLS end one after the other, by close_notify', async t => {
  const server = startServer(t, { fixture: 'tls.js', env })
  makeCertificate(server.directory)
  const { port } = (await server.line('listening on')).bound[0]
  await server.line('listening on')
  const connect = () => tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  const clients = await idleClients(t, connect, 20)
  const begun = performance.now()
  server.kill('SIGHUP')
  await endGradually(t, clients, begun)
  t.match(await server.line('drained'), { finished: 20, told: 0, cut: 0 })
})

t.test('the log and the status say of each kind what became of its connections', async t => {
  const server = startServer(t, { fixture: 'long-lived.js', release: { options: { drainTimeout: 2_000 } } })
  const port = await server.port()
  await idleClients(t, () => net.connect(port, '127.0.0.1'), 3)
  const talks = [await talk(t, port), await talk(t, port)]
  talks[1]!.pause() // it never answers the close frame
  await active(t, port)

  const pid = String(server.pid)
  const { code, stdout, stderr } = await graceful(['reload', '--fail-on-cut', pid])
  t.match(stdout, /generation 1 \(pid \d+\) retired after .* s: 3 moved, 1 finished, 2 told, 2 cut\n/)
  t.match(
    stderr,
    /were cut: 1 HTTP\/1.1 request, 1 WebSocket, when drainTimeout was over: GET \/events, WebSocket \/chat \(GRACEFUL_UPGRADE_CUT\)\n$/
  )
  t.equal(code, 1)
  const kinds = {
    http1: { moved: 3, finished: 0, told: 0, cut: 1 },
    webSocket: { moved: 0, finished: 1, told: 2, cut: 1 }
  }
  t.match(await server.line('drained'), { moved: 3, told: 2, cut: 2, refused: 0, longestPause: Number })
  t.match(await server.line('generation retired'), { moved: 3, finished: 1, told: 2, cut: 2 })
  t.match((await statusOf(server.pid)).upgrades, [
    { generation: 2, result: 'ready', report: { kinds, refused: 0 } }
  ])
  t.match(
    (await graceful(['status', pid])).stdout,
    / MOVED +KEPT +FINISHED +TOLD +CUT +RESULT\n2 .* 3 +0 +1 +2 +2 +ready/
  )
})

async function talk(t: Test, port: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`)
  t.teardown(() => socket.terminate())
  await once(socket, 'message')
  return socket
}

/** A stream of events that nobody ends. */
async function active(t: Test, port: number): Promise<void> {
  const request = http.get({ port, host: '127.0.0.1', path: '/events' })
  t.teardown(() => request.destroy())
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  response.on('error', () => {}) // it is cut
  await once(response, 'data')
}
