import { once } from 'node:events'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import { connectionsOf } from '../../lib/connections.js'
import { drain } from '../../lib/drain.js'
import { defaultOptions } from '../../lib/options.js'

const many = 3_000

t.test('a look at thousands of connections makes pauses, in which requests are answered', async t => {
  const server = http.createServer()
  const { sockets } = connectionsOf(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const clients: net.Socket[] = []
  t.teardown(() => clients.map(client => client.destroy()))
  while (sockets.size < many) {
    const batch = Array.from({ length: 100 }, () => net.connect(port, '127.0.0.1'))
    clients.push(...batch)
    await Promise.all(batch.map(client => once(client, 'connect')))
    while (sockets.size < clients.length) await new Promise(setImmediate)
  }

  let turns = 0
  let onLooked: (fields: object) => void = () => {}
  const looked = new Promise<object>(resolve => {
    onLooked = resolve
  })
  const log = Object.assign(Object.create(Fastify().log), {
    info: (fields: object, sentence: string) => sentence === 'draining' && onLooked(fields)
  })
  const drained = drain([server], {
    ...defaultOptions,
    reason: () => 'close',
    relay: undefined,
    addressOf: () => undefined,
    log
  })
  const count = () => {
    turns++
    counter = setImmediate(count)
  }
  let counter = setImmediate(count)
  t.match(await looked, { connections: { fresh: many } }, 'it has seen all')
  clearImmediate(counter)
  t.ok(turns > 4, `the event loop has turned ${turns} times meanwhile`)

  for (const client of clients) client.destroy()
  await drained
})
