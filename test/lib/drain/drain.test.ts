import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import Fastify from 'fastify'
import t from 'tap'
import { connectionsOf } from '../../../lib/connections/connections.js'
import { drain } from '../../../lib/drain/drain.js'
import type { OfferAnswer } from '../../../lib/handover/offer.js'
import { defaultOptions } from '../../../lib/options.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { follow, followHttp, request, until } from '../../helper/accepted.ts'
import { makeCertificate } from '../../helper/certificate.ts'
import { temporaryFolder } from '../../helper/folder.ts'

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

t.test('what is cut at the deadline is warned about once, and for the reason that there was', async t => {
  const server = http.createServer(() => {}) // which never answers
  server.on('connect', () => {})
  const { sockets } = connectionsOf(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const cut: Promise<unknown>[] = []
  for (const request of ['GET / HTTP/1.1', 'GET / HTTP/1.1', 'CONNECT b:1 HTTP/1.1']) {
    const client = net.connect(port, '127.0.0.1')
    t.teardown(() => client.destroy())
    client.resume().on('error', () => {})
    cut.push(once(client, 'close'))
    client.write(`${request}\r\nHost: a\r\n\r\n`)
  }
  while ([...sockets].filter(({ bytesRead }) => bytesRead > 0).length < 3) await new Promise(setImmediate)

  const warned: object[] = []
  const warn = (fields: object, msg: string) => warned.push({ ...fields, msg })
  let reason: 'upgrade' | 'close' = 'upgrade'
  const report = await drain([server], {
    ...defaultOptions,
    drainTimeout: 200,
    reason: () => reason,
    relay: undefined,
    addressOf: () => undefined,
    log: Object.assign(Object.create(Fastify({ logger: { level: 'silent' } }).log), { warn })
  })
  reason = 'close' // as the application says when it closes behind the drain
  server.close()
  await Promise.all(cut)
  t.match(warned, [
    {
      reason: 'upgrade',
      connections: { active: 2, detached: 1 },
      msg: 'drain timed out, cutting connections'
    },
    { reason: 'upgrade', detached: 1, msg: 'cutting detached connections' }
  ])
  t.match(report(), { kinds: { http1: { cut: 2 }, other: { cut: 1 } } })
})

t.test("with handover 'all' what moves stays keep-alive, and what can't move is told to close", async t => {
  const files = makeCertificate(temporaryFolder(t))
  const keys = { key: readFileSync(files.key), cert: readFileSync(files.cert) }
  const responses: http.ServerResponse[] = []
  const listener = (_request: unknown, response: http.ServerResponse) => void responses.push(response)
  const plain = await follow(t, http.createServer(listener))
  const secure = await follow(t, https.createServer(keys, listener))
  const { client, said } = await plain.connect()
  const { port } = secure.server.address() as AddressInfo
  const secureClient = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  t.teardown(() => secureClient.destroy())
  const secureSaid = once(secureClient, 'data')
  for (const each of [client, secureClient]) each.write(request())
  await until(() => responses.length === 2)

  const offered: object[] = []
  const drained = drain([plain.server, secure.server], {
    ...defaultOptions,
    handover: 'all',
    reason: () => 'upgrade',
    relay: async offer => {
      offered.push(offer)
      return 'adopted'
    },
    addressOf: server => ({ key: server === plain.server ? 'plain' : 'secure', bound: 'here' }),
    log: Fastify().log
  })
  const answer = said()
  for (const response of responses) response.end('hello')
  t.match(await answer, /Connection: keep-alive/)
  t.match(String((await secureSaid)[0]), /Connection: close/)
  secureClient.end()
  const report = (await drained)()
  t.match(offered, [{ listener: { key: 'plain' } }])
  t.match(report.kinds, { http1: { moved: 1, finished: 1 } })
})

t.test("with handover 'all' who has not gone in half of the time is told to close", async t => {
  const { server, connect } = await followHttp(t)
  const accepted = [await connect(), await connect(), await connect()]
  for (const { get } of accepted) await get()
  const { promise: taken, resolve: take } = createDeferred<OfferAnswer>()
  const offered: object[] = []
  const begun = performance.now()
  const drained = drain([server], {
    ...defaultOptions,
    drainTimeout: 3_000,
    handover: 'all',
    reason: () => 'upgrade',
    relay(offer) {
      offered.push(offer)
      return taken // by a machine that is too busy for that
    },
    addressOf: () => ({ key: 'plain', bound: 'here' }),
    log: Fastify().log
  })
  const { get } = accepted[2]!
  await until(() => offered.length === 2) // so many are on their way at once
  t.match(await get(), /Connection: keep-alive/)
  await sleep(1_510 - (performance.now() - begun))
  t.match(await get(), /Connection: close/)
  take('adopted')
  t.match((await drained)().kinds, { http1: { moved: 2, finished: 1, cut: 0 } })
  t.equal(offered.length, 2)
})

t.test('what is on its way at the deadline is moved, and not cut', async t => {
  const { server, connect } = await followHttp(t)
  for (let count = 0; count < 2; count++) await (await connect()).get()
  const { promise: taken, resolve: take } = createDeferred<OfferAnswer>()
  const report = await drain([server], {
    ...defaultOptions,
    drainTimeout: 100,
    reason: () => 'upgrade',
    relay: () => taken,
    addressOf: () => ({ key: 'plain', bound: 'here' }),
    log: Fastify({ logger: { level: 'silent' } }).log
  })
  t.match(report().kinds, { http1: { moved: 0, cut: 2 } }, 'nobody knows yet')
  take('adopted')
  await until(() => report().kinds.http1?.moved === 2)
  t.same(report().kinds, { http1: { moved: 2, finished: 0, told: 0, cut: 0 } })
})
