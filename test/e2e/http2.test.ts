/** HTTP/2 sessions on the way out, over TLS and cleartext, and what clients that others wrote say of upgrades. */
import { once, setMaxListeners } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http2, { type ClientHttp2Session } from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { Pool } from 'undici'
import { makeCertificate } from '../helper/certificate.ts'
import { buildGoClient, runGoClient } from '../helper/go-client.ts'
import { FrameClient, types } from '../helper/http2-frames.ts'
import { ended, missing, startProgram } from '../helper/program.ts'
import { count, type Report } from '../helper/report.ts'
import { rollCall } from '../helper/roll-call.ts'
import { type Server, startServer } from '../helper/server.ts'

type Kind = 'h2' | 'h2c' | 'allowHTTP1' | 'https'

const upgrades = Number(process.env.HTTP2_UPGRADES ?? 2)
const highest = 2 ** 31 - 1
const directory = mkdtempSync(path.join(tmpdir(), 'fgu-http2-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const files = makeCertificate(directory)
const certificate = { key: readFileSync(files.key, 'utf8'), cert: readFileSync(files.cert, 'utf8') }

async function start(t: Test, kind: Kind, options: object = {}) {
  const fastify = {
    ...(kind === 'https' ? {} : { http2: true }),
    ...(kind === 'h2c' ? {} : { https: { ...certificate, allowHTTP1: kind === 'allowHTTP1' } })
  }
  const server = startServer(t, { release: { listen: [{ port: 0, host: '127.0.0.1' }], fastify, options } })
  const port = await server.port()
  const origin = `${kind === 'h2c' ? 'http' : 'https'}://127.0.0.1:${port}`
  return { server, port, origin, frames: () => frameClient(t, kind, port), session: () => connect(t, origin) }
}

async function frameClient(t: Test, kind: Kind, port: number): Promise<FrameClient> {
  const socket = kind === 'h2c' ? net.connect(port, '127.0.0.1') : secure({ port, host: '127.0.0.1' }, 'h2')
  t.teardown(() => socket.destroy())
  await once(socket, kind === 'h2c' ? 'connect' : 'secureConnect')
  return new FrameClient(socket)
}

function secure(options: tls.ConnectionOptions, protocol: string): tls.TLSSocket {
  return tls.connect({ ...options, ALPNProtocols: [protocol], rejectUnauthorized: false })
}

async function connect(t: Test, origin: string): Promise<ClientHttp2Session> {
  const session = http2.connect(origin, { rejectUnauthorized: false })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  return session
}

async function get(session: ClientHttp2Session, path: string, method = 'GET'): Promise<string> {
  const stream = session.request({ ':path': path, ':method': method }, { endStream: true })
  const chunks = await stream.toArray()
  return Buffer.concat(chunks).toString('latin1')
}

/** @returns when it has begun, by `performance.now()`: a busy machine hears of that later */
async function drains(server: Server, signal: NodeJS.Signals = 'SIGHUP'): Promise<number> {
  server.kill(signal)
  const { time } = await server.line('signal aborted')
  return performance.now() - (Date.now() - time)
}

/** Stories of one drain, which go on at the same time. */
function together(t: Test, stories: Record<string, (t: Test) => Promise<void>>): Promise<unknown> {
  t.jobs = Object.keys(stories).length
  return Promise.all(
    Object.entries(stories).map(([title, story]) => t.test(title, { buffered: true }, story))
  )
}

/** A session that has had an answer, and asks for nothing more, when the drain begins. */
async function resting(t: Test, client: FrameClient, begun: number): Promise<void> {
  t.equal(await client.ended(), 'end', 'by FIN')
  t.ok(performance.now() - begun > 800)
  t.equal(client.goaways().at(-1), 1)
}

const size = 8 * 1024 * 1024

async function longStreams(t: Test, session: ClientHttp2Session, answers: Promise<string[]>): Promise<void> {
  const [stream, download, slow] = (await answers) as [string, string, string]
  t.equal(stream, 'part 0\npart 1\npart 2\npart 3\npart 4\n')
  t.equal(download.length, size)
  t.match(JSON.parse(slow), { generation: 1 })
  if (!session.destroyed) await once(session, 'close')
}

function askLong(session: ClientHttp2Session): Promise<string[]> {
  const routes = ['/stream?ms=drain', `/download?size=${size}`, '/slow?ms=drain&more=2000']
  return Promise.all(routes.map(route => get(session, route)))
}

/** A TCP connection on which nothing has been said. */
async function silent(t: Test, port: number): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

for (const signal of ['SIGHUP', 'SIGTERM'] as const) {
  t.test(`cleartext, on ${signal}`, async t => {
    const { server, port, frames, session } = await start(t, 'h2c', { spreadTime: 0 })
    const [client, rest] = [await frames(), await frames()]
    for (const each of [client, rest]) {
      each.get(1, '/')
      await each.answer(1)
    }
    client.get(3, '/slow?ms=drain&more=2000')
    const long = await session()
    const answers = askLong(long)
    const late = await silent(t, port)
    await sleep(100) // for all of that to arrive
    const begun = await drains(server, signal)

    await together(t, {
      async 'GOAWAY comes twice, and a stream in between is served'(t) {
        const first = await client.frame(({ type }) => type === types.goaway)
        t.match(first, { lastStream: highest, code: 0 })
        client.get(5, '/')
        t.match((await client.answer(5)).text, /"generation":1/)
        client.get(7, '/slow?ms=1500')
        const second = await client.frame(
          ({ type, lastStream }) => type === types.goaway && lastStream < highest
        )
        t.match(second, { lastStream: 7, code: 0 })
        t.ok(second.time - first.time >= 900, `${second.time - first.time} ms lie between`)
        await Promise.all([client.answer(3), client.answer(7)])
        t.equal(await client.ended(), 'end', 'by FIN')
        t.same(client.goaways(), [highest, 7])
      },
      'a session at rest is ended after a second, by FIN': t => resting(t, rest, begun),
      'long streams are served to their end': t => longStreams(t, long, answers),
      async 'a connection that speaks late is served, and told twice'(t) {
        const client = new FrameClient(late)
        client.get(1, '/')
        t.match((await client.answer(1)).text, /"generation":1/)
        t.equal(await client.ended(), 'end')
        t.equal(client.frames[0]?.type, types.settings, 'which must come first')
      }
    })
    if (signal === 'SIGTERM') t.same(await server.exit(), { code: 0, signal: null })
    else await server.line('generation retired')
  })
}

t.test('over TLS', async t => {
  const { server, port, frames, session } = await start(t, 'h2', { spreadTime: 0 })
  const [one, many, rest] = [await frames(), await frames(), await frames()]
  for (const each of [one, rest]) {
    each.get(1, '/')
    await each.answer(1)
  }
  many.get(1, '/slow?ms=drain&more=2000') // open until the others are answered
  const long = await session()
  const answers = askLong(long)
  const late = await silent(t, port)
  await sleep(100) // for all of that to arrive
  const begun = await drains(server)

  await together(t, {
    async 'the request that comes first is the last one, and GOAWAY is out before its answer'(t) {
      await sleep(100)
      t.same(one.goaways(), [], 'no GOAWAY that would make the server deaf')
      one.get(3, '/slow?ms=100')
      const goaway = await one.frame(({ type }) => type === types.goaway)
      t.match(goaway, { lastStream: 3, code: 0 })
      const answer = await one.answer(3)
      t.match(answer.text, /"generation":1/)
      t.ok(one.frames.indexOf(goaway) < one.frames.indexOf(answer))
      t.equal(await one.ended(), 'end', 'by FIN')
    },
    async 'requests that come together are all served, and GOAWAY is out before the last answer'(t) {
      many.get(3, '/slow?ms=300')
      many.get(5, '/')
      many.get(7, '/slow?ms=100')
      const answers = await Promise.all([1, 3, 5, 7].map(stream => many.answer(stream)))
      for (const { text } of answers) t.match(text, /"generation":1/)
      t.same(many.goaways(), [7])
      const goaway = many.frames.findIndex(({ type }) => type === types.goaway)
      const ends = answers.map(answer => many.frames.indexOf(answer)).sort((a, b) => a - b)
      t.ok(ends.at(-2)! < goaway && goaway < ends.at(-1)!, 'one answer is behind GOAWAY')
      t.equal(await many.ended(), 'end', 'by FIN')
    },
    'a session at rest is ended after a second, by FIN': t => resting(t, rest, begun),
    'long streams are served to their end': t => longStreams(t, long, answers),
    async 'a handshake that ends during the drain is served, and told'(t) {
      const socket = secure({ socket: late }, 'h2')
      await once(socket, 'secureConnect')
      const client = new FrameClient(socket)
      client.get(1, '/')
      t.match((await client.answer(1)).text, /"generation":1/)
      t.equal(await client.ended(), 'end')
      t.equal(client.goaways().at(-1), 1)
    }
  })
  await server.line('generation retired')
})

for (const kind of ['h2', 'h2c'] as const) {
  t.test(`${kind}: at the deadline an open stream fails and the session ends`, async t => {
    const { server, session } = await start(t, kind, { drainTimeout: 1_500 })
    const one = await session()
    const stream = one.request({ ':path': '/download?size=1000000000' })
    stream.on('error', () => {})
    const closed = new Promise(resolve => one.once('close', resolve))
    await once(stream, 'response') // and it is never read
    await drains(server)
    t.match(await server.line(/drain timed out/), { connections: { active: 1 } })
    await closed
    t.not(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR, 'half a response is no whole one')
    await server.line('generation retired')
  })

  t.test(`${kind}: app.close() ends with a session open, and so does the process`, async t => {
    const { server, session } = await start(t, kind)
    const [idle, one] = [await session(), await session()]
    await get(idle, '/')
    const begun = performance.now()
    await get(one, '/close', 'POST')
    t.same(await server.exit(), { code: 0, signal: null })
    t.ok(performance.now() - begun < 5_000)
  })
}

t.test('with allowHTTP1 each kind is told in its own words', async t => {
  const { server, port, frames } = await start(t, 'allowHTTP1')
  const agent = new https.Agent({ keepAlive: true, rejectUnauthorized: false })
  t.teardown(() => agent.destroy())
  const request = async () => {
    const [response] = await once(https.get({ port, host: '127.0.0.1', agent }), 'response')
    response.resume()
    await once(response, 'end')
    return response
  }
  const two = await frames()
  t.equal((await request()).headers.connection, 'keep-alive')
  two.get(1, '/')
  await two.answer(1)
  await drains(server)
  const { httpVersion, headers } = await request()
  t.same([httpVersion, headers.connection], ['1.1', 'close'])
  t.equal(await two.ended(), 'end')
  t.equal(two.goaways().at(-1), 1)
  await server.line('generation retired')
})

interface Load {
  readonly t: Test
  readonly origin: string
  readonly done: AbortSignal
  /** Of those that tell. */
  readonly onAnswer: (generation: number, who: string) => void
}

const loads: {
  readonly title: string
  readonly kind: Exclude<Kind, 'allowHTTP1'>
  readonly command?: string
  readonly run: (load: Load) => Promise<Report>
}[] = [
  {
    title: "Go's net/http over TLS, HTTP/1.1, posts what it can't send twice, and loses none",
    kind: 'https',
    command: 'go',
    run: load => runGoClient(load, '1')
  },
  {
    title: "Go's net/http over TLS, HTTP/2, posts what it can't send twice, and loses none",
    kind: 'h2',
    command: 'go',
    run: load => runGoClient(load, '2')
  },
  { title: 'h2load over TLS counts no request that failed', kind: 'h2', command: 'h2load', run: runH2load },
  {
    title: 'h2load, cleartext, counts no request that failed',
    kind: 'h2c',
    command: 'h2load',
    run: runH2load
  },
  { title: 'curl --http2 loses none', kind: 'h2', command: 'curl', run: runCurl },
  {
    title: 'undici with allowH2 loses no more than one request a connection and upgrade',
    kind: 'h2',
    run: runUndici
  }
]

t.test('clients that others wrote, all at once', { timeout: 120_000 + upgrades * 20_000 }, async t => {
  const kinds = ['https', 'h2', 'h2c'] as const
  const servers = new Map(await Promise.all(kinds.map(async kind => [kind, await start(t, kind)] as const)))
  const controller = new AbortController()
  setMaxListeners(0, controller.signal)
  t.teardown(() => controller.abort())
  const done = controller.signal
  const { note: onAnswer, complete } = rollCall(1) // undici alone tells
  const present = loads.filter(({ command }) => command === undefined || !missing(command))
  if (!missing('go')) await buildGoClient()
  const running = present.map(({ kind, run }) =>
    run({ t, origin: servers.get(kind)!.origin, done, onAnswer })
  )
  await upgradeAll().finally(() => controller.abort())
  const reports = await Promise.all(running)

  for (const load of loads) {
    const skip = load.command === undefined ? false : missing(load.command)
    await t.test(load.title, { skip }, async t => {
      const report = reports[present.indexOf(load)]!
      t.comment(JSON.stringify(report))
      t.same(report.failures, {}, 'no failure')
      t.ok(report.answers > upgrades, 'there was load')
      if (report.generations) t.equal(Object.keys(report.generations).length, upgrades + 1)
    })
  }
  for (const { server } of servers.values()) {
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  }

  async function upgradeAll(): Promise<void> {
    await complete(1)
    await sleep(500)
    for (let generation = 1; generation <= upgrades; generation++) {
      await Promise.all(
        Array.from(servers.values(), async ({ server }) => {
          await server.reload()
          await server.line('generation retired', line => line.generation === generation)
        })
      )
      await complete(generation + 1)
    }
    await sleep(300)
  }
})

/**
 * It never connects again: what it had not sent when GOAWAY came counts as failed there, and so does what crossed
 * GOAWAY (RFC 9113 6.8 lets a client send both again). So only an answer that was begun and didn't end is one of ours,
 * and it is started again and again.
 */
async function runH2load({ t, origin, done }: Load): Promise<Report> {
  const report = { answers: 0, failures: {} as Record<string, number> }
  while (!done.aborted) {
    const child = startProgram(t, 'h2load', [
      '-n',
      '100000',
      '-c',
      '10',
      '-m',
      '1',
      '-t',
      '1',
      `${origin}/slow?ms=20`
    ])
    done.addEventListener('abort', () => child.kill('SIGINT'), { once: true })
    const { output } = await ended(child)
    const [, started, succeeded, errored, timeout] = (
      /(\d+) started, \d+ done, (\d+) succeeded, \d+ failed, (\d+) errored, (\d+) timeout/.exec(output) ?? []
    ).map(Number)
    if (started === undefined || succeeded === undefined) {
      if (!done.aborted) count(report.failures, output)
      continue
    }
    report.answers += succeeded
    t.comment(JSON.stringify({ started, succeeded, errored, timeout }))
    if (!done.aborted) count(report.failures, 'sent and not answered', started - succeeded)
    const bad =
      /status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx/.exec(output)?.slice(1).map(Number) ?? []
    count(
      report.failures,
      'status',
      bad.reduce((total, each) => total + each, 0)
    )
  }
  return report
}

/**
 * Over TLS alone: on a cleartext session curl 7.88 goes on using a connection after the first GOAWAY, which RFC 9113 6.8
 * forbids, and its own library refuses (exit 16, nothing is sent).
 */
async function runCurl({ t, origin, done }: Load): Promise<Report> {
  const report = { answers: 0, failures: {} as Record<string, number> }
  const urls = 100
  const args = ['--disable', '--insecure', '--http2', '--fail', '--no-progress-meter', '--rate', '3000/m']
  const each = ['--data', 'some=thing', '--write-out', '\n%{http_code} over %{http_version}\n']
  while (!done.aborted) {
    const child = startProgram(t, 'curl', [
      ...args,
      ...each,
      ...Array.from({ length: urls }, () => `${origin}/`)
    ])
    const { code, output } = await ended(child)
    if (code !== 0) count(report.failures, `exit ${code}: ${output.slice(-300)}`)
    const answers = [...output.matchAll(/^200 over 2$/gm)].length
    report.answers += answers
    count(report.failures, 'no answer', urls - answers)
  }
  return report
}

/**
 * undici 7 destroys the connection with any GOAWAY, and fails what is open on it, though RFC 9113 6.8 says that streams
 * up to the last identifier may still complete. One request is open on a connection; nothing else may fail.
 */
async function runUndici({ t, origin, done, onAnswer }: Load): Promise<Report> {
  const report = {
    answers: 0,
    failures: {} as Record<string, number>,
    generations: {} as Record<number, number>
  }
  const pool = new Pool(origin, { connections: 10, allowH2: true, connect: { rejectUnauthorized: false } })
  t.teardown(() => pool.destroy())
  await Promise.all(Array.from({ length: 10 }, (_, index) => client(index)))
  await pool.close()
  const own = Object.keys(report.failures).find(name => /^UND_ERR_SOCKET: .*GOAWAY.* code 0$/.test(name))
  t.comment(JSON.stringify(report.failures))
  if (own !== undefined && report.failures[own]! <= 10 * upgrades) delete report.failures[own]
  return report

  async function client(index: number): Promise<void> {
    for (let request = 0; !done.aborted; request++) {
      await sleep(Math.random() * 40)
      const sent = `client=${index}&n=${request}`
      try {
        const { body } = await pool.request({
          path: '/',
          method: 'POST',
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
          body: Readable.from([sent])
        })
        const { generation, body: echoed } = JSON.parse(await body.text())
        if (echoed !== sent) throw new Error('the answer to another request')
        report.answers++
        report.generations[generation] = (report.generations[generation] ?? 0) + 1
        onAnswer(generation, 'undici')
      } catch (error) {
        const { message, code } = error as NodeJS.ErrnoException
        count(report.failures, `${code}: ${message}`)
      }
    }
  }
}
