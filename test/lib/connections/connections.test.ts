import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net, { type Server, type Socket } from 'node:net'
import path from 'node:path'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { connectionsOf, countConnections } from '../../../lib/connections/connections.js'
import { makeCertificate } from '../../helper/certificate.ts'
import { temporaryFolder } from '../../helper/folder.ts'

/** On a Unix socket: its connections have no ports to tell them apart by. */
async function listen(t: Test, server: Server): Promise<string> {
  const file = path.join(temporaryFolder(t), 'app.sock')
  connectionsOf(server)
  await once(server.listen(file), 'listening')
  t.teardown(() => server.close())
  return file
}

function follow(t: Test, socket: Socket): Socket {
  t.teardown(() => socket.destroy())
  return socket
}

t.test('a handshake that is over takes the place of its own connection, and of no other', async t => {
  const files = makeCertificate(temporaryFolder(t))
  const server = https.createServer({ key: readFileSync(files.key), cert: readFileSync(files.cert) })
  const file = await listen(t, server)
  for (const _ of [1, 2, 3]) {
    follow(t, net.connect(file))
    await once(server, 'connection')
  }
  const accepted = once(server, 'connection')
  const client = follow(t, tls.connect({ path: file, rejectUnauthorized: false }))
  const [[below], [secure]] = await Promise.all([
    accepted,
    once(server, 'secureConnection'),
    once(client, 'secureConnect')
  ])
  const { sockets } = connectionsOf(server)
  t.ok(sockets.has(secure) && !sockets.has(below))
  t.same(countConnections([connectionsOf(server)]), { fresh: 4, idle: 0, active: 0, detached: 0 })
})

t.test('what is known of a connection at rest is believed only while nothing comes', async t => {
  const server = http.createServer((_request, response) => response.end('hello'))
  const file = await listen(t, server)
  const [one, two] = [1, 2].map(() => follow(t, net.connect(file))) as [Socket, Socket]
  for (const client of [one, two]) {
    client.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
    await once(client, 'data')
  }
  const states = connectionsOf(server).states()[Symbol.iterator]()
  t.equal(states.next().value?.[1], 'idle')
  const second = [...connectionsOf(server).sockets][1] as Socket
  const before = second.bytesRead
  for (const client of [one, two]) client.write('GET / HT')
  while (second.bytesRead === before) await new Promise(setImmediate)
  t.equal(states.next().value?.[1], 'active', 'half a request line has come since the list was made')
})
