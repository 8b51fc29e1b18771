/** A client that resumes its TLS session after an upgrade resumes. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import http2 from 'node:http2'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { ask as askMaster } from '../../lib/client/ask.js'
import { findMaster } from '../../lib/client/find.js'
import { type Certificate, makeCertificate } from '../helper/certificate.ts'
import { cli, fastify, fixtures, type Server, startServer } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const versions = ['TLSv1.2', 'TLSv1.3'] as const
type Version = (typeof versions)[number]
const modes = { standalone: {}, supervised: { supervised: [] } }

const folder = mkdtempSync(path.join(tmpdir(), 'fgu-tickets-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const [first, second] = ['first', 'second'].map(name => makeCertificate(path.join(folder, name), name)) as [
  Certificate,
  Certificate
]

interface Visit {
  readonly reused: boolean
  readonly session: Buffer
  /** The name in the server's certificate; a session that is resumed may have none. */
  readonly certificate: string | undefined
  /** What the server says of itself. */
  readonly generation: number
  readonly pid: number
  readonly script: string
  readonly keys: string
}

interface Visitor {
  readonly version?: Version
  readonly session?: Buffer
  readonly route?: string
  /** Of the client itself. */
  readonly as?: { readonly key: string; readonly cert: string }
}

/** A connection of its own, over HTTP/1.1 to the first port and over HTTP/2 to the second. */
async function visit(
  [port, protocol]: readonly [number, 'http/1.1' | 'h2'],
  { version = 'TLSv1.3', session, route = '/', as }: Visitor = {}
): Promise<Visit> {
  const socket = tls.connect({
    host: '127.0.0.1',
    port,
    servername: 'server.test',
    minVersion: version,
    maxVersion: version,
    ALPNProtocols: [protocol],
    rejectUnauthorized: false,
    ...(session ? { session } : {}),
    ...(as ? { key: readFileSync(as.key), cert: readFileSync(as.cert) } : {})
  })
  let newest = session
  socket.on('error', () => {}) // whoever waits hears of it
  socket.on('session', given => (newest = given))
  await once(socket, 'secureConnect')
  const reused = socket.isSessionReused()
  const { subject } = socket.getPeerCertificate() as Partial<tls.PeerCertificate>
  const body = await (protocol === 'h2' ? overHttp2(socket, route) : overHttp1(socket, route))
  socket.destroy()
  return { reused, session: newest!, certificate: subject?.CN, ...JSON.parse(body) }
}

async function overHttp1(socket: tls.TLSSocket, route: string): Promise<string> {
  socket.write(`GET ${route} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`)
  return (await buffer(socket)).toString().split('\r\n\r\n')[1]!
}

async function overHttp2(socket: tls.TLSSocket, route: string): Promise<string> {
  const client = http2.connect('https://server.test', { createConnection: () => socket })
  client.on('error', () => {})
  const body = (await buffer(client.request({ ':path': route }))).toString()
  client.destroy()
  return body
}

/** The HTTPS port and the HTTP/2 port. */
async function ports(server: Server) {
  await server.port()
  const [h2, https] = server.lines.find(({ msg }) => msg === 'listening on')!.bound
  return [
    [https.port, 'http/1.1'],
    [h2.port, 'h2']
  ] as const
}

async function start(
  t: Test,
  { https = {}, ...release }: { https?: object; [key: string]: unknown },
  options = {}
) {
  const server = startServer(t, {
    fixture: 'tickets.js',
    release: { https: { ...first, ...https }, ...release },
    ...options
  })
  return { server, ports: await ports(server) }
}

async function upgrade(server: Server, https?: object): Promise<void> {
  if (https) server.deploy({ https: { ...first, ...https } })
  await server.reload()
  await server.line('generation retired')
}

for (const [mode, options] of Object.entries(modes)) {
  t.test(`${mode}: sessions and keys over eight generations`, async t => {
    const { server, ports } = await start(t, {}, options)
    const known: { address: (typeof ports)[number]; version: Version; session: Buffer; keys: string }[] = []
    for (const generation of [1, 2, 3, 4]) {
      await t.test(`sessions resume in generation ${generation}, by keys of each server's own`, async t => {
        if (generation > 1) await upgrade(server, generation === 4 ? second : {})
        for (const { address, version, session, keys } of known) {
          const title = `${version}, ${address[1]}`
          t.match(await visit(address, { version, session }), { generation, reused: true, keys }, title)
        }
        for (const version of versions) {
          for (const address of ports) {
            const fresh = await visit(address, { version })
            const certificate = generation === 4 ? 'second' : 'first'
            t.match(fresh, { generation, reused: false, certificate }, 'its certificate is the new one')
            known.push({ address, version, ...fresh })
          }
        }
        t.not(known[0]!.keys, known[1]!.keys, 'of HTTPS and of HTTP/2')
      })
      if (generation === 2) await t.test('what a later version might say of them is not logged', babble)
    }

    await t.test('the keys are in no environment, command line, file or log line', async t => {
      const { pid } = await visit(ports[0])
      const traces = [server.stderr(), JSON.stringify(server.lines)]
      for (const each of [pid, server.pid]) {
        for (const file of ['environ', 'cmdline'])
          traces.push(readFileSync(`/proc/${each}/${file}`, 'latin1'))
      }
      for (const file of readdirSync(server.directory)) {
        traces.push(readFileSync(path.join(server.directory, file), 'latin1'))
      }
      t.ok(traces.join().includes('generation ready'), 'there is something to look at')
      for (const port of ports) {
        const keys = Buffer.from((await visit(port)).keys, 'hex')
        for (const part of [keys.subarray(0, 15), keys.subarray(15, 30), keys.subarray(30, 45)]) {
          const texts = (['hex', 'base64', 'base64url', 'latin1'] as const).map(form => part.toString(form))
          for (const text of [...texts, part.join()]) {
            for (const trace of traces) t.notOk(trace.toLowerCase().includes(text.toLowerCase()))
          }
        }
      }
    })

    await t.test('keys that the application has changed meanwhile are the ones that go on', async t => {
      const stale = await visit(ports[0])
      await visit(ports[0], { route: '/rotate' })
      const { keys, session } = await visit(ports[0])
      t.not(keys, stale.keys)
      await upgrade(server, {})
      t.match(await visit(ports[0], { session }), { generation: 5, reused: true, keys })
      t.match(await visit(ports[0], { session: stale.session }), { reused: false })
    })

    await t.test('the application’s own ticket keys are left alone', async t => {
      const own = { ticketKeys: randomBytes(48).toString('hex') }
      const { session } = await visit(ports[0])
      await upgrade(server, own)
      const sixth = await visit(ports[0], { session })
      t.match(sixth, { generation: 6, reused: false, keys: own.ticketKeys })
      await upgrade(server, own)
      t.match(await visit(ports[0], { session: sixth.session }), { generation: 7, reused: true })
      await upgrade(server, {})
      const { keys } = await visit(ports[0])
      t.not(keys, own.ticketKeys, 'nor do they go on without the application')
    })

    async function babble(t: Test): Promise<void> {
      for (const port of ports) await visit(port, { route: '/babble' })
      t.match(await server.line('unknown message of a worker'), { type: 'revealed' })
    }
  })

  t.test(`${mode}: a client's own certificate is looked at again`, async t => {
    const { server, ports } = await start(t, {}, options)
    const wanted = { requestCert: true, ca: first.cert }
    const visits: { version: Version; session: Buffer }[] = []
    for (const version of versions) visits.push({ version, ...(await visit(ports[0], { version })) })

    await t.test('who was never asked for one does not get in without it', async t => {
      await upgrade(server, wanted)
      for (const { version, session } of visits.splice(0)) {
        await t.rejects(visit(ports[0], { version, session }), `${version}, as without a session`)
        const known = await visit(ports[0], { version, session, as: first })
        t.match(known, { generation: 2, reused: false })
        visits.push({ version, session: known.session })
      }
    })

    await t.test('whose certificate counts no more does not get in either', async t => {
      await upgrade(server, wanted)
      for (const { version, session } of visits) {
        t.match(await visit(ports[0], { version, session, as: first }), { reused: true }, 'while it does')
      }
      await upgrade(server, { requestCert: true, ca: second.cert })
      for (const { version, session } of visits) {
        await t.rejects(visit(ports[0], { version, session, as: first }), version)
        t.match(await visit(ports[0], { version, session, as: second }), { generation: 4, reused: false })
      }
    })
  })
}

t.test('where each name may have clients of its own, a client shows its certificate again', async t => {
  const https = { requestCert: true, ca: first.cert }
  const { server, ports } = await start(t, { https, names: true })
  const { session } = await visit(ports[0], { as: first })
  await upgrade(server)
  t.match(await visit(ports[0], { session, as: first }), { generation: 2, reused: false })
})

t.test('sessions resume after the death of a worker, be it the first or a later one', async t => {
  const { server, ports } = await start(t, {}, { supervised: [] })
  const { session, pid } = await visit(ports[0])
  await hasToldKeys(server)
  process.kill(pid, 'SIGKILL')
  await server.line('generation ready', ({ generation }) => generation === 2)
  const second = await visit(ports[0], { session })
  t.match(second, { generation: 2, reused: true })
  await hasToldKeys(server)
  process.kill(second.pid, 'SIGKILL')
  await server.line('generation ready', ({ generation }) => generation === 3)
  t.match(await visit(ports[0], { session }), { generation: 3, reused: true })
})

/** The master asks a worker for its keys when it begins to serve: what it is asked later it has answered later. */
async function hasToldKeys({ pid }: Server): Promise<void> {
  await askMaster(await findMaster(String(pid)), 'status')
}

t.test('sessions resume where a worker goes on without its master', async t => {
  const { server, ports } = await start(t, {}, { supervised: [] })
  const { session, pid } = await visit(ports[0])
  server.kill('SIGKILL')
  await server.line(/master lost/)
  t.match(await visit(ports[0], { session }), { reused: true }) // which takes longer than to be the master
  process.kill(pid, 'SIGHUP')
  await server.line('generation retired')
  t.match(await visit(ports[0], { session }), { generation: 2, reused: true })
})

/** Releases with the fixture in them; `current` leads to one. */
function releases(t: Test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-releases-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const release of ['1', '2']) {
    const directory = path.join(folder, 'releases', release)
    mkdirSync(path.join(directory, 'node_modules'), { recursive: true })
    symlinkSync(fastify, path.join(directory, 'node_modules/fastify'))
    // The package itself is found by its own name only from within.
    const source = readFileSync(path.join(fixtures, 'tickets.js'), 'utf8')
    const entry = JSON.stringify(path.join(root, 'dist/index.js'))
    writeFileSync(path.join(directory, 'server.mjs'), source.replace("'fastify-graceful-upgrade'", entry))
  }
  const current = path.join(folder, 'current')
  const flip = (release: string) => {
    rmSync(current, { force: true })
    symlinkSync(path.join('releases', release), current)
  }
  flip('1')
  return { current, flip }
}

const ownKeys = { ticketKeys: randomBytes(48).toString('hex') }
for (const [title, https] of Object.entries({ 'keys of Node.js': {}, 'keys of its own': ownKeys })) {
  for (const [mode, command] of Object.entries({
    standalone: 'cd "$2" && exec "$0" server.mjs',
    supervised: 'exec "$0" "$1" --directory "$2" server.mjs'
  })) {
    t.test(`${mode}, with ${title}: sessions resume though the script is in another directory`, async t => {
      const { current, flip } = releases(t)
      const { server, ports } = await start(
        t,
        { https },
        { command: ['bash', '-c', command, process.execPath, cli, current] }
      )
      if (mode === 'supervised') await server.line('generation ready') // it listens before that
      const sessions = [await visit(ports[0]), await visit(ports[0], { version: 'TLSv1.2' })] as const
      flip('2')
      await upgrade(server)
      const resumed = [
        await visit(ports[0], { session: sessions[0].session }),
        await visit(ports[0], { session: sessions[1].session, version: 'TLSv1.2' })
      ]
      for (const { reused, script } of resumed) {
        t.ok(reused)
        t.not(script, sessions[0].script, 'its arguments are others')
      }
    })
  }
}
