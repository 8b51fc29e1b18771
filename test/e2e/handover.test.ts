/** What a client sees of its connection while it is handed from one generation to the next. */
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { NetConnectOpts } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { ask as askMaster } from '../../lib/client/ask.js'
import { findMaster } from '../../lib/client/find.js'
import type { Status } from '../../lib/control/messages.js'
import { makeCertificate } from '../helper/certificate.ts'
import { statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'
import { active, hasLoaded } from '../helper/supervised.ts'

const upgrades = Number(process.env.HANDOVER_UPGRADES ?? 8)
const ask = async (client: Client, route = '/') => JSON.parse((await client.get(route)).body.toString())

async function start(t: Test, release: object = {}, supervised?: readonly string[]) {
  const listen = [{ port: 0, host: '127.0.0.1' }]
  const server = startServer(t, { release: { listen, ...release }, ...(supervised && { supervised }) })
  const deploy = (next: object) => server.deploy({ listen, ...next })
  const port = await server.port()
  const address: NetConnectOpts = { host: '127.0.0.1', port }
  const client = () => {
    const each = new Client(address)
    t.teardown(() => each.close())
    return each
  }
  /** An upgrade, until the old generation has gone. */
  const upgrade = async () => {
    const { generation } = await server.reload()
    await server.line('generation retired', line => line.generation === generation - 1)
    return generation
  }
  return { server, client, upgrade, deploy, port }
}

t.test(
  `${upgrades} upgrades keep the PID, hand an idle and a fresh connection to the next generation, and leak nothing`,
  async t => {
    const { server, client, upgrade } = await start(t)
    const idle = client()
    await ask(idle)
    let early: number[] = []
    let last = server.pid
    for (let generation = 2; generation <= upgrades + 1; generation++) {
      const fresh = client()
      await fresh.socket()
      while ((await ask(idle, '/open')).count.fresh === 0) await sleep(5)
      t.equal(await upgrade(), generation)
      const { pid } = await ask(idle)
      t.not(pid, last)
      t.match(await ask(fresh), { generation, pid })
      t.match(await ask(idle), { generation })
      t.equal(fresh.opened, 1)
      fresh.close()
      last = pid
      if (generation === 3) early = await settled([server.pid, pid])
    }
    t.equal(idle.opened, 1, 'on one connection')
    t.same(await settled([server.pid, last], early), early, 'as many descriptors as after the second upgrade')
    t.equal(
      server.lines.filter(({ msg, moved }) => msg === 'drained' && moved === 2).length,
      upgrades,
      'and counted'
    )
    t.equal(server.child.exitCode, null, 'the process that was started is there')
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  }
)

/** Open descriptors of processes, once they are as many as is hoped for, or have been the same for a second. */
async function settled(pids: readonly number[], hoped?: readonly number[]): Promise<number[]> {
  if (process.platform !== 'linux') return []
  let counts: number[] = []
  for (let same = 0; same < 20; await sleep(50)) {
    const now = pids.map(pid => readdirSync(`/proc/${pid}/fd`).length)
    if (String(now) === String(hoped)) return now
    same = String(now) === String(counts) ? same + 1 : 0
    counts = now
  }
  return counts
}

t.test("with handover 'all' a response in flight stays keep-alive and its connection follows", async t => {
  const { client, upgrade, server, port } = await start(t, { options: { handover: 'all' } })
  const one = client()
  for (const generation of [2, 3]) {
    const answer = one.get('/slow?ms=drain')
    await active(port, 1)
    await upgrade()
    const { headers, body } = await answer
    t.match(headers, { connection: 'keep-alive' })
    t.match(JSON.parse(body.toString()), { generation: generation - 1 })
    t.match(await ask(one), { generation })
  }
  t.equal(one.opened, 1)
  t.equal(server.lines.filter(({ msg, moved }) => msg === 'drained' && moved === 1).length, 2)
})

t.test("with handover 'idle', from one generation to the next", async t => {
  const { server, client, port } = await start(t, { descriptors: 4_096 })
  const [half, busy, closing, counted, other] = [client(), client(), client(), client(), client()]
  for (const each of [closing, counted, other]) await ask(each)
  const halfSocket = await half.socket()
  halfSocket.write('GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT')
  await half.response()
  const answer = busy.get('/slow?ms=drain')
  await active(port, 2) // half a request is one
  await server.reload()
  await server.line('signal aborted')

  await t.test('a response in flight carries close', async t => {
    const { headers, body } = await answer
    t.match({ ...headers, ...JSON.parse(body.toString()) }, { connection: 'close', generation: 1 })
  })

  await t.test('half a request behind the one before keeps the connection where it is', async t => {
    await held(server.pid, ({ generation, connections }) => generation === 2 && connections?.idle === 3)
    halfSocket.write('TP/1.1\r\nHost: test\r\n\r\n')
    const { headers, body } = await half.response()
    t.match({ ...headers, ...JSON.parse(body.toString()) }, { connection: 'close', generation: 1 })
    await server.line('generation retired')
  })

  await t.test('a client that half-closes after its request is served as on an accepted one', async t => {
    const socket = await closing.socket()
    socket.end('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
    t.match(JSON.parse((await closing.response()).body.toString()), { generation: 2 })
  })

  await t.test(
    "a child of the application doesn't inherit a connection",
    { skip: process.platform !== 'linux' },
    async t => {
      const { pid } = await ask(counted)
      t.not(pid, server.pid)
      const flags = readdirSync(`/proc/${pid}/fdinfo`).map(fd => ({
        fd,
        info: readLink(`/proc/${pid}/fd/${fd}`),
        flags: readFlags(pid, fd)
      }))
      const sockets = flags.filter(({ fd, info }) => Number(fd) > 2 && info.startsWith('socket:'))
      t.ok(sockets.length >= 3)
      for (const { fd, flags } of sockets) t.ok(flags & 0o2000000, `descriptor ${fd} is closed on exec`)
    }
  )

  await t.test('an adopted connection is counted, and its response is waited for in a drain', async t => {
    t.same(await ask(counted, '/open'), { count: { fresh: 0, idle: 1, active: 1, detached: 0 } })
    const answer = counted.get('/slow?ms=drain')
    await active(port, 1)
    server.kill('SIGTERM')
    t.match(await answer, { status: 200, headers: { connection: 'close' } })
    t.same(await server.exit(), { code: 0, signal: null })
  })
})

t.test('idle connections move also where the drain may not take long', async t => {
  const server = startServer(t, { release: { options: { drainTimeout: 4_000 } } })
  const port = await server.port()
  const clients = Array.from({ length: 50 }, () => new Client({ host: '127.0.0.1', port }))
  t.teardown(() => clients.map(client => client.close()))
  await Promise.all(clients.map(client => client.get('/')))
  await server.reload()
  t.match(await server.line('drained'), { moved: 50, finished: 0, cut: 0 })
  await Promise.all(clients.map(client => client.get('/')))
  t.ok(clients.every(({ opened }) => opened === 1))
})

t.test('a listener for data on every connection loses no request in a handover', async t => {
  const server = startServer(t, { release: { spyOnData: true, options: { handover: 'all' } } })
  const address = { host: '127.0.0.1', port: await server.port() }
  const running = startLoad(t, address, { clients: 20, pause: [0, 50] })
  for (const _ of [2, 3]) {
    await sleep(200)
    await server.reload()
    await server.line('generation retired')
  }
  t.same((await running.stop()).failures, {})
})

t.test('the times and the limit of a server hold on its adopted connections', async t => {
  const fastify = {
    keepAliveTimeout: 2_000,
    maxRequestsPerSocket: 3,
    requestTimeout: 900,
    http: { connectionsCheckingInterval: 50, headersTimeout: 500 }
  }
  const { server, client, deploy } = await start(t, { fastify })
  // Its start must not take the time that the connections have.
  deploy({ fastify, boot: 'held' })
  server.kill('SIGHUP')
  const { pid } = await server.line('generation spawned')
  if (process.platform === 'linux') await hasLoaded(pid)
  const [quiet, head, body, fresh, slow, many] = Array.from({ length: 6 }, client) as [Client, ...Client[]]
  for (const each of [quiet, head, body, slow, many]) await ask(each!)
  const begun = performance.now()
  const socket = await quiet.socket()
  let bytes = 0
  socket.on('data', chunk => (bytes += chunk.length))
  const ended = once(socket, 'end').then(() => performance.now() - begun)
  await sleep(1_000) // of the keep-alive time
  await fresh!.socket()
  while ((await ask(client(), '/open')).count.fresh === 0) await sleep(5)
  deploy({ fastify })
  await server.line('generation retired')
  const answer = ask(slow!, '/slow?ms=4000')
  const limited = askToTheEnd(many!)
  ;(await head!.socket()).write('GET / HTT')
  ;(await body!.socket()).write(
    'POST / HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\n12'
  )

  await t.test('headersTimeout and requestTimeout', async t => {
    for (const each of [head, body, fresh]) await t.rejects(each!.response(), { message: /408/ })
  })

  await t.test('maxRequestsPerSocket', async t => {
    t.equal((await limited).at(-1), 'close')
  })

  await t.test('it ends quietly after its keep-alive time, which goes on, and never with a 408', async t => {
    const lasted = await ended
    t.equal(bytes, 0, 'not a word')
    t.ok(lasted > 2_000 && lasted < 4_000, `after ${lasted} ms: 2 s, and Node's buffer of one`)
  })

  await t.test('a slow handler is not cut by the keep-alive time of before', async t => {
    t.match(await answer, { generation: 2 })
    t.equal(slow!.opened, 1)
    server.kill('SIGTERM')
  })
})

t.test('where Node.js hides what is needed, a warning says so once and no request is lost', async t => {
  const { server, client } = await start(t, { hide: true })
  const one = client()
  await ask(one)
  await server.reload()
  t.match(await server.line(/hides what handover needs/), { level: 40 })
  t.match((await one.get('/')).headers, { connection: 'close' })
  await server.line('generation retired')
  t.match(await ask(one), { generation: 2 })
})

t.test(
  'each connection arrives at its own listener: two instances, localhost on ::1, a Unix socket',
  async t => {
    const release = { dualLocalhost: true, listen: [{ port: 0 }, { path: 'app.sock' }, { port: 0 }] }
    const server = startServer(t, { release })
    const bound: any[] = []
    for (const _ of release.listen) bound.push((await server.line('listening on')).bound)
    const socketPath = path.join(server.directory, 'app.sock')
    const clients = [
      { index: 0, client: new Client({ host: '127.0.0.1', port: bound[0][0].port }) },
      { index: 0, client: new Client({ host: '::1', port: bound[0][0].port }) },
      { index: 1, client: new Client({ path: socketPath }) },
      { index: 2, client: new Client({ host: '127.0.0.1', port: bound[2][0].port }) },
      { index: 2, client: new Client({ host: '::1', port: bound[2][0].port }) }
    ]
    const before: any[] = []
    for (const { client, index } of clients) {
      t.match(await ask(client), { index, generation: 1 })
      before.push(await ask(client, '/remote'))
    }
    for (const generation of [2, 3]) {
      await server.reload()
      await server.line('generation retired')
      for (const [at, { client, index }] of clients.entries()) {
        t.match(await ask(client), { index, generation })
        t.same(
          await ask(client, '/remote'),
          before[at],
          'request.ip, remoteAddress and localPort are as before'
        )
        t.equal(client.opened, 1)
      }
    }
    for (const { client } of clients) client.close()
  }
)

for (const { supervised, ...options } of [{ handover: 'idle' }, { handover: 'all', supervised: [] }]) {
  const mode = supervised ? 'supervised' : 'standalone'
  t.test(`${mode}: an adopted connection doesn't end by the connectionTimeout of fresh ones`, async t => {
    const fastify = { connectionTimeout: 500, keepAliveTimeout: 60_000 }
    const { client, upgrade } = await start(t, { fastify, options }, supervised)
    const [one, fresh] = [client(), client()]
    await ask(one)
    for (const generation of [2, 3]) {
      await upgrade()
      await once(await fresh.socket(), 'end') // later than it would
      t.match(await ask(one), { generation })
    }
    t.equal(one.opened, 1)
  })
}

t.test(
  'an adopted connection that may stay idle for ever does so, over one upgrade and over two',
  async t => {
    const { client, upgrade } = await start(t, { keepAlive: 'endless' })
    const [one, two] = [client(), client()]
    await ask(one)
    await ask(two)
    await upgrade()
    await sleep(100)
    t.match(await ask(one), { generation: 2 })
    await upgrade()
    await sleep(100)
    for (const each of [one, two]) {
      t.match(await ask(each), { generation: 3 })
      t.equal(each.opened, 1)
    }
  }
)

t.test(
  'TLS in front of a plain server: its connections stay until they are told, and stop no other',
  async t => {
    const { key, cert } = makeCertificate(t.testdir())
    const tlsInFront = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
    const { server, client } = await start(t, { tlsInFront, options: { handover: 'all' } })
    const { port } = (await server.line('TLS in front')).bound
    const secure = [1, 2, 3].map(() => tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }))
    t.teardown(() => {
      for (const socket of secure) socket.destroy()
    })
    const get = async (socket: tls.TLSSocket) => {
      socket.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
      return String(await once(socket, 'data'))
    }
    for (const socket of secure) await get(socket)
    const plain = client()
    await ask(plain)
    await server.reload()
    for (const socket of secure) {
      let answer: string
      do
        answer = await get(socket) // it may not have been its turn yet
      while (/keep-alive/.test(answer))
      t.match(answer, /Connection: close.*"generation":1/s)
    }
    t.match(await server.line('generation retired'), { code: 0, moved: 1, cut: 0 })
    t.match(await ask(plain), { generation: 2 })
    t.equal(plain.opened, 1)
  }
)

t.test(
  'a connection whose listener the new version has dropped is refused, and drained by the old',
  async t => {
    const options = { claimTimeout: 200 }
    const server = startServer(t, {
      release: { options, listen: [{ path: 'kept.sock' }, { path: 'dropped.sock' }] }
    })
    await server.line('listening on')
    await server.line('listening on')
    const [kept, dropped] = ['kept.sock', 'dropped.sock'].map(
      name => new Client({ path: path.join(server.directory, name) })
    )
    await ask(kept!)
    await ask(dropped!)
    server.deploy({ options, listen: [{ path: 'kept.sock' }] })
    await server.reload()
    // Where the one is, and the other is yet.
    await held(server.pid, ({ generation, connections }) => generation === 2 && connections?.idle === 1)
    await held(server.pid, ({ generation, connections }) => generation === 1 && connections?.idle === 1)
    t.match(await ask(kept!), { generation: 2 })
    const { headers, body } = await dropped!.get('/')
    t.match(headers, { connection: 'close' })
    t.match(JSON.parse(body.toString()), { generation: 1, index: 1 })
    t.match(await server.line('drained', ({ refused }) => refused === 1), {})
    for (const each of [kept, dropped]) each!.close()
  }
)

t.test(
  'a new process at its descriptor limit refuses, and answers on; the old one keeps serving',
  { skip: process.platform !== 'linux' },
  async t => {
    const release = { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: 'all' } }
    const { server, client } = await start(t, release)
    const clients = Array.from({ length: 100 }, client)
    for (const each of clients) await ask(each)
    server.deploy({ ...release, descriptors: 50 })
    await server.reload()
    const [refused, moved]: [Client[], Client[]] = [[], []]
    for (const each of clients) {
      for (;;) {
        const { headers, body } = await each.get('/')
        const isMoved = JSON.parse(body.toString()).generation === 2
        if (!isMoved && headers.connection !== 'close') continue // it may go yet
        ;(isMoved ? moved : refused).push(each)
        break
      }
    }
    t.comment(`${refused.length} refused, ${moved.length} moved`)
    t.ok(refused.length > 50 && moved.length > 5)
    t.match(await server.line('drained'), { refused: refused.length, moved: moved.length, cut: 0 })
    t.match((await statusOf(server.pid)).generations, [{ generation: 2, workers: [{ rss: Number }] }])
    server.kill('SIGKILL')
    await server.line(/master lost/)
    for (const each of moved) t.match(await ask(each), { generation: 2 }, 'whatever it is asked, or told')
    t.ok(
      clients.every(({ opened }) => opened === 1),
      'on the same connections'
    )
  }
)

/** What is said of the connection in three answers, or fewer if it is closed behind them. */
async function askToTheEnd(client: Client): Promise<(string | undefined)[]> {
  const connections: (string | undefined)[] = []
  while (connections.length < 3 && connections.at(-1) !== 'close') {
    connections.push((await client.get('/')).headers.connection)
  }
  return connections
}

/** One of the generations of a running server is as is asked for. */
async function held(pid: number, matches: (generation: Status['generations'][number]) => boolean) {
  const socket = await findMaster(String(pid))
  while (!(await askMaster(socket, 'status')).generations.some(matches)) await sleep(20)
}

function readLink(file: string): string {
  try {
    return readlinkSync(file)
  } catch {
    return ''
  }
}

function readFlags(pid: number, fd: string): number {
  const match = /flags:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))
  return Number.parseInt(match?.[1] ?? '0', 8)
}
