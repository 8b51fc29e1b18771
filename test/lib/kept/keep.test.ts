import http from 'node:http'
import t from 'tap'
import { createKeeper } from '../../../lib/kept/keep.js'
import { keptOf } from '../../../lib/kept/kept.js'
import { follow, request } from '../../helper/accepted.ts'
import { playLog } from '../../helper/play/log.ts'

const { log, lines } = playLog()
const { keep } = createKeeper(log)
const raw = { headers: {} } as http.IncomingMessage

t.test('what is neither a WebSocket nor a response is refused', async t => {
  t.throws(() => keep({} as never, raw, () => 1), { code: 'GRACEFUL_UPGRADE_INVALID_OPTION' })
})

t.test('what can not be kept is not, and the log says so once', async t => {
  const { socket } = await (await follow(t, http.createServer())).connect()
  const encrypted = Object.create(socket, { encrypted: { value: true } })
  const response = Object.assign(new http.ServerResponse(raw), { stream: {} })
  const old = { ping() {}, readyState: 1, close() {}, _socket: socket }
  for (let time = 0; time < 2; time++) {
    t.same(
      keep(response, raw, () => 1),
      { moved: false }
    )
    t.same(
      keep(old, raw, () => 1),
      { moved: false }
    )
    t.same(
      keep(new http.ServerResponse(raw), { ...raw, socket: encrypted } as http.IncomingMessage, () => 1),
      { moved: false }
    )
  }
  t.match(lines, [/over HTTP\/2/, /this version of ws/, /over TLS/])
  t.equal(lines.length, 3)
  t.equal(keptOf(socket), undefined)
})

t.test('a WebSocket that has closed, and the response of inject(), are not kept, without a word', async t => {
  const before = lines.length
  t.same(
    keep({ ping() {}, readyState: 3, close() {} } as never, raw, () => 1),
    { moved: false }
  )
  t.same(
    keep(new http.ServerResponse(raw), raw, () => 1),
    { moved: false }
  )
  t.equal(lines.length, before)
})

t.test('a response is kept until it has ended, by the later of two calls', async t => {
  const calls: number[] = []
  const served = await follow(
    t,
    http.createServer((request, response) => {
      for (const call of [1, 2]) keep(response, { raw: request }, () => calls.push(call))
      response.write('hello')
    })
  )
  const { client, socket, said } = await served.connect()
  client.write(request())
  await said()
  const kept = keptOf(socket)!
  t.equal(kept.subject.isOpen(), true)
  t.equal(kept.save(), '1')
  t.same(calls, [2])
})

t.test('a response that waits for its turn behind another one is kept', async t => {
  const served = await follow(
    t,
    http.createServer((request, response) => {
      keep(response, request, () => request.url)
      response.write(`hello ${request.url}`)
      setImmediate(() => request.url === '/a' && response.end())
    })
  )
  const { client, socket } = await served.connect()
  client.write(request('/a') + request('/b'))
  let text = ''
  for await (const chunk of client) if (/hello \/b/.test((text += chunk))) break
  t.equal(keptOf(socket)!.save(), '"/b"')
  t.equal(
    keptOf(socket)!.subject.isAtRest(() => true),
    true
  )
})

t.test('a response to a request with a body is not kept, and the log names the route, once', async t => {
  const { log, lines, fields } = playLog()
  const { keep } = createKeeper(log)
  const served = await follow(
    t,
    http.createServer((request, response) => {
      const routeOptions = { url: request.url!.startsWith('/ask') ? '/ask/:id' : '/upload' }
      keep(response, { raw: request, routeOptions }, () => 1)
      response.write('hello')
    })
  )
  const chunked = 'Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n'
  for (const [line, rest, isKept] of [
    ['POST /ask/1?token=secret', 'Content-Length: 2\r\n\r\n{}', false],
    ['POST /ask/2', 'Content-Length: 2\r\n\r\n{}', false],
    ['POST /upload', chunked, false],
    ['POST /ask/3', 'Content-Length: 0\r\n\r\n', true],
    ['POST /ask/4', '\r\n', true]
  ] as const) {
    const { client, socket, said } = await served.connect()
    client.write(`${line} HTTP/1.1\r\nHost: a\r\n${rest}`)
    await said()
    t.equal(keptOf(socket) !== undefined, isKept, line)
  }
  t.same(fields, [{ route: 'POST /ask/1' }, { route: 'POST /upload' }])
  t.match(lines, [/body of its request/, /body of its request/])
})
