/** Responses that are written bit by bit, and what their clients have got of them. */
import http, { type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectionsAtRest } from '../../../lib/internals/idle-list.js'
import type { Fate } from '../../../lib/kept/give.js'
import { createKeeper } from '../../../lib/kept/keep.js'
import { keptOf } from '../../../lib/kept/kept.js'
import { follow, request } from '../../helper/accepted.ts'
import { keeper, moveAll, way } from '../../helper/houses.ts'
import { playLog } from '../../helper/play/log.ts'

const { keep } = createKeeper(playLog().log)

/** A request that is being answered so. */
async function respond(t: Test, answer: (response: ServerResponse) => void) {
  let response: ServerResponse | undefined
  const server = http.createServer((request, itsResponse) => {
    response = itsResponse
    keep(response, request, () => 1)
    answer(response)
  })
  const { client, socket } = await (await follow(t, server)).connect()
  let text = ''
  client.setEncoding('latin1').on('data', chunk => (text += chunk))
  client.write(request())
  while (response === undefined) await sleep(1)
  const { subject } = keptOf(socket)!
  return {
    subject,
    isAtRest: () => subject.isAtRest(() => connectionsAtRest(server)!.get(socket) === socket.bytesRead),
    async said(pattern: RegExp) {
      while (!pattern.test(text)) await sleep(1)
    }
  }
}

t.test('a head that waits for the first bytes of its body is sent before the response may leave', async t => {
  const { subject, isAtRest, said } = await respond(t, response =>
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  )
  t.equal(isAtRest(), false)
  await said(/^HTTP\/1.1 200 OK\r\n[\s\S]*\r\n\r\n$/)
  t.equal(isAtRest(), true)
  t.same(subject.told(), { kind: 'stream', status: 200, framing: 'chunked', type: 'text/event-stream' })
})

t.test('a response without a head stays', async t => {
  const { isAtRest } = await respond(t, () => {})
  t.equal(isAtRest(), false)
  t.equal(isAtRest(), false)
})

for (const [method, status] of [
  ['GET', 204],
  ['GET', 304],
  ['HEAD', 200]
] as const) {
  t.test(
    `${method} and ${status}: there is no body to go on with, and the next request is answered`,
    async t => {
      const [from, to] = await Promise.all(
        ['a', 'b'].map(name =>
          follow(
            t,
            http.createServer((request, response) => {
              if (request.url === '/next') return void response.end(name)
              keeper.keep(response, request, () => 1)
              response.writeHead(status).flushHeaders()
              if (keeper.restored(request)) setImmediate(() => response.end())
            })
          )
        )
      )
      const { client, socket, said } = await from!.connect()
      client.write(request().replace('GET', method))
      const head = await said()
      t.match(head, new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*\r\n\r\n$`))
      t.ok(keptOf(socket))
      const fates: Fate[] = []
      await moveAll(from!, (await way(t))(to!), fates)
      t.same(fates, ['kept'])
      client.write(request('/next'))
      t.match(await said(), /^HTTP\/1.1 200 OK\r\n[\s\S]*\r\n\r\nb$/)
    }
  )
}
