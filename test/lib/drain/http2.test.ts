/** Sessions of a real server in this process. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http2, { type Http2SecureServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'
import net, { type AddressInfo } from 'node:net'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { followSessions } from '../../../lib/connections/http2-sessions.js'
import { endSessions } from '../../../lib/drain/http2.js'
import { makeCertificate } from '../../helper/certificate.ts'
import { temporaryFolder } from '../../helper/folder.ts'
import { FrameClient, types } from '../../helper/http2-frames.ts'
import { standStill } from '../../helper/stand-still.ts'

/** Answers at once, but for /later, which a test answers itself. */
async function serve(t: Test, server: Http2Server | Http2SecureServer) {
  const later: ServerHttp2Stream[] = []
  server.on('stream', (stream: ServerHttp2Stream, { ':path': path }) => {
    if (path === '/later') later.push(stream)
    else stream.end('hello')
  })
  followSessions(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  return { later, connect }

  /** @returns one that has had an answer */
  async function connect(): Promise<FrameClient> {
    const { port } = server.address() as AddressInfo
    const isSecure = 'addContext' in server
    const socket = isSecure
      ? tls.connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false })
      : net.connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    await once(socket, isSecure ? 'secureConnect' : 'connect')
    const client = new FrameClient(socket)
    client.get(1, '/')
    await client.answer(1)
    return client
  }
}

t.test('sessions are told one after the other over the time that is asked for', async t => {
  const server = http2.createServer()
  const { connect } = await serve(t, server)
  const clients = await Promise.all(Array.from({ length: 4 }, connect))
  const begun = performance.now()
  const sessions = endSessions([server], { spreadTime: 800 })
  const told = await Promise.all(clients.map(client => client.frame(({ type }) => type === types.goaway)))
  const times = told.map(({ time }) => time - begun).sort((a, b) => a - b)
  t.comment(JSON.stringify(times))
  for (const [index, time] of times.entries()) t.ok(time >= index * 200 - 5, `after ${index * 200} ms`)
  t.equal(sessions.cut(), 4)
  sessions.stop()
  for (const client of clients) await client.ended()
})

t.test('a request that came while the process stood still is answered', async t => {
  const { key, cert } = makeCertificate(temporaryFolder(t))
  const server = http2.createSecureServer({ key: readFileSync(key), cert: readFileSync(cert) })
  const { later, connect } = await serve(t, server)
  const client = await connect()
  const sessions = endSessions([server])
  client.get(3, '/later')
  standStill(1_100) // for longer than a session may rest
  const goaway = await client.frame(({ type }) => type === types.goaway)
  t.match(goaway, { lastStream: 3, code: 0 })
  later[0]!.end('hello')
  t.equal((await client.answer(3)).text, 'hello')
  t.equal(await client.ended(), 'end')
  sessions.stop()
})
