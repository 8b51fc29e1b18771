/** A server in front accepts, and feeds Fastify's, which doesn't listen: its connections are Fastify's all the same. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { TcpNetConnectOpts } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { makeCertificate } from '../helper/certificate.ts'
import { temporaryFolder } from '../helper/folder.ts'
import { statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { type StartOptions, startServer } from '../helper/server.ts'

const files = makeCertificate(temporaryFolder(t))
const pem = { key: readFileSync(files.key, 'utf8'), cert: readFileSync(files.cert, 'utf8') }

/** Where the fronts are reached, by what speaks there. */
async function start(t: Test, release: object, options: StartOptions = {}) {
  const server = startServer(t, { fixture: 'front.js', release: { pem, ...release }, ...options })
  await server.port()
  const line = server.lines.find(({ msg }) => msg === 'listening on')
  t.equal(line?.state, 'serving')
  const ports: Record<string, number> = Object.fromEntries(
    line?.bound.map(({ name, port }: any) => [name, port])
  )
  const plain = (name: string) => ({ host: '127.0.0.1', port: ports[name] as number })
  const secure = (name: string, servername = 'localhost') => ({
    ...plain(name),
    servername,
    rejectUnauthorized: false
  })
  const addresses: Record<string, TcpNetConnectOpts> = {
    net: plain('net'),
    tls: secure('tls'),
    'HTTP on one port': plain('onePort'),
    'HTTPS on one port': secure('onePort'),
    'another name': secure('onePort', 'other'),
    'HTTPS by app.routing': secure('routing'),
    ALPN: secure('http2'),
    'a server that nobody knows': plain('unknown'),
    ...(ports.factory && { 'HTTP of a factory': plain('factory'), 'HTTPS of a factory': secure('factory') })
  }
  return { server, addresses }
}

for (const supervised of [undefined, []] as const) {
  const name = supervised ? 'supervised, and with a serverFactory' : 'standalone'
  t.test(`three upgrades and SIGTERM under load, by a front of each kind, ${name}`, async t => {
    const release = { factory: supervised !== undefined }
    const { server, addresses } = await start(t, release, supervised && { supervised })
    const each = Object.entries(addresses)
    const running = each.map(([, address]) => startLoad(t, address, { clients: 4, pause: [0, 200] }))
    for (const generation of [2, 3, 4]) {
      t.match(await server.reload(), { generation })
      t.match(await server.line('generation retired'), { code: 0, cut: 0 })
    }
    for (const [index, { stop }] of running.entries()) {
      const { failures, generations } = await stop()
      t.same(failures, {}, each[index]?.[0])
      t.equal(Object.keys(generations).at(-1), '4')
    }

    t.same(
      server.lines.filter(({ level }) => level >= 40),
      [],
      'no warning'
    )

    const slow = each.map(([, address]) => new Client(address).get('/slow?ms=2000')) // more than it takes to ask for all on a busy machine
    const busy = each.map(([, address]) => startLoad(t, address, { clients: 2, pause: [0, 100] }))
    const open = new Client(addresses.net!)
    while (JSON.parse(String((await open.get('/open')).body)).active < 5) await sleep(5) // with itself: all by name feed it
    server.kill('SIGTERM')
    for (const [index, { status, headers }] of (await Promise.all(slow)).entries()) {
      const [name = ''] = each[index] ?? []
      t.equal(status, 200, name)
      // Of a connection below TLS, to a server that isn't known, nothing is known until its next request.
      if (!/routing|HTTPS of a factory/.test(name)) t.equal(headers.connection, 'close', name)
    }
    t.same(await server.exit(), { code: 0, signal: null })
    for (const [index, { stop }] of busy.entries()) {
      const { 'non-2xx': refused, 'short body': cut } = (await stop()).failures
      t.same([refused, cut], [undefined, undefined], each[index]?.[0])
    }
  })
}

t.test('what comes by a front is counted as what it is, and once', async t => {
  const { server, addresses } = await start(t, { options: { drainTimeout: 60_000 } })
  const { net, tls } = addresses as Record<string, TcpNetConnectOpts>
  const open = new Client(tls!)
  t.teardown(() => open.close())
  const count = async () => JSON.parse(String((await open.get('/open')).body))
  t.same(await count(), { fresh: 0, idle: 0, active: 1, detached: 0 })
  const idle = ['net', 'tls', 'HTTP on one port', 'HTTPS on one port'].map(
    name => new Client(addresses[name]!)
  )
  t.teardown(() => idle.map(client => client.close()))
  for (const client of idle) await client.post('/', '')
  t.same(await count(), { fresh: 0, idle: 4, active: 1, detached: 0 })
  const chats = [
    new WebSocket(`ws://127.0.0.1:${net!.port}/chat`),
    new WebSocket(`wss://127.0.0.1:${tls!.port}/chat`, { rejectUnauthorized: false })
  ]
  t.teardown(() => chats.map(chat => chat.terminate()))
  await Promise.all(chats.map(chat => once(chat, 'open')))
  t.same(await count(), { fresh: 0, idle: 4, active: 1, detached: 2 })
  t.match((await statusOf(server.pid)).generations, [{ connections: { idle: 5, active: 0, detached: 2 } }])

  const ends = chats.map(chat => once(chat, 'close'))
  await server.reload()
  t.same(
    (await Promise.all(ends)).map(([code]) => code),
    [1012, 1012]
  )
  // Idle ones aren't closed, as a request may be on its way: it is answered, and that is the end.
  for (const client of [...idle, open])
    t.match(await client.post('/', ''), { status: 200, headers: { connection: 'close' } })
  t.match(await server.line('generation retired'), { code: 0, finished: 7, told: 2, cut: 0 })
})
