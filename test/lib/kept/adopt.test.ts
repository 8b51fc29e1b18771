import { once } from 'node:events'
import http from 'node:http'
import t from 'tap'
import { drain } from '../../../lib/drain/drain.js'
import { adopt } from '../../../lib/handover/adopt.js'
import { type KeptPart, unknownListener } from '../../../lib/handover/offer.js'
import { detachHandle } from '../../../lib/internals/detach.js'
import type { RawHandle } from '../../../lib/internals/raw-handle.js'
import { adoptKept } from '../../../lib/kept/adopt.js'
import { createKeeper } from '../../../lib/kept/keep.js'
import { defaultOptions } from '../../../lib/options.js'
import { follow } from '../../helper/accepted.ts'
import { playLog } from '../../helper/play/log.ts'

const address = { key: 'unix:here', bound: 'here' }
const part: KeptPart = { listener: address, bytes: '', told: { kind: 'socket' }, state: '1' }

function playHandle() {
  let closed = 0
  const handle: RawHandle = { fd: 3, listen: () => 0, close: () => void closed++ }
  return { handle, closed: () => closed }
}

t.test('a version that takes it for an idle connection has no such listener, and refuses', async t => {
  const { server } = await follow(t, http.createServer())
  const { handle, closed } = playHandle()
  const offer = { listener: unknownListener, idleTime: null, kept: part }
  t.equal(adopt([{ ...address, server }], offer, handle), false)
  t.equal(closed(), 1)
})

t.test('a server that listens elsewhere, or not any more, refuses', async t => {
  const { log } = playLog()
  const { server } = await follow(t, http.createServer())
  const { handle, closed } = playHandle()
  t.equal(adoptKept([{ key: 'other', bound: 'other', server }], part, handle, log), false)
  server.close()
  t.equal(adoptKept([{ ...address, server }], part, handle, log), false)
  t.equal(closed(), 2)
})

t.test('nothing is done with a connection before the answer has left', async t => {
  const { log } = playLog()
  const requests: (string | undefined)[] = []
  const { server, list, connect } = await follow(
    t,
    http.createServer(({ url }, response) => {
      requests.push(url)
      response.writeHead(200, { 'content-length': 5 }).end('hello')
    })
  )
  const { socket, said } = await connect()
  const bytes = Buffer.from('GET /again HTTP/1.1\r\nHost: a\r\n\r\n').toString('base64')
  const told = { kind: 'stream', status: 200, framing: '5', type: '' } as const
  const handle = detachHandle(socket)!
  await once(socket, 'close')
  t.equal(adoptKept([{ ...address, server }], { ...part, bytes, told }, handle, log), true)
  await Promise.resolve() // in which the answer is sent
  t.equal(list.sockets.size, 0)
  t.equal(await said(), 'hello', 'without the head')
  t.same(requests, ['/again'])
})

t.test('a drain that begins before it is replayed waits for it, and gives it on', async t => {
  const { log } = playLog()
  const { keep, restored } = createKeeper(log)
  const { server, connect } = await follow(
    t,
    http.createServer((request, response) => {
      keep(response, request, () => restored<number>(request)! + 1)
      response.writeHead(200, { 'content-length': 5 }).write('h')
    })
  )
  const { socket, client } = await connect()
  client.resume()
  const bytes = Buffer.from('GET /again HTTP/1.1\r\nHost: a\r\n\r\n').toString('base64')
  const told = { kind: 'stream', status: 200, framing: '5', type: '' } as const
  const handle = detachHandle(socket)!
  await once(socket, 'close')
  t.equal(adoptKept([{ ...address, server }], { ...part, bytes, told }, handle, log), true)
  const states: unknown[] = []
  const drained = await drain([server], {
    ...defaultOptions,
    reason: () => 'upgrade',
    relay: async ({ kept }) => {
      states.push(kept?.state)
      return 'adopted'
    },
    addressOf: () => address,
    log
  })
  t.same(states, ['2'])
  t.match(drained(), { kinds: { http1: { kept: 1, cut: 0 } } })
})
