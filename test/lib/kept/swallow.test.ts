/** A server's end of a real connection, whose client has had the head of a response. */
import { once } from 'node:events'
import net from 'node:net'
import t, { type Test } from 'tap'
import type { Told } from '../../../lib/handover/offer.js'
import { stillToSay, swallowHead } from '../../../lib/kept/swallow.js'
import { follow } from '../../helper/accepted.ts'

const webSocket: Told = { kind: 'webSocket', protocol: 'a', extensions: '' }
const chunked: Told = { kind: 'stream', status: 200, framing: 'chunked', type: 'text/plain' }
const events: Told = { ...chunked, type: 'text/event-stream' }

const switching =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: a\r\n\r\n'
const ok = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n'

async function play(t: Test, told: Told) {
  const { client, socket } = await (await follow(t, net.createServer({ allowHalfOpen: true }))).connect()
  const said: boolean[] = []
  swallowHead(socket, told, (_head, isSame) => said.push(isSame))
  let text = ''
  client.setEncoding('latin1').on('data', chunk => (text += chunk))
  const ended = once(client, 'end')
  return { client, socket, said, all: () => ended.then(() => text) }
}

for (const [what, told, writes, expected] of [
  ['a head in one piece', webSocket, [`${switching}frame`], 'frame'],
  ['a head in pieces', webSocket, [switching.slice(0, 9), switching.slice(9, -1), '\nframe'], 'frame'],
  ['a head behind another one', chunked, [`HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n${ok}1\r\n`], '1\r\n'],
  [
    'the head of a stream with nothing left to say',
    chunked,
    ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    '0\r\n\r\n'
  ]
] as const) {
  t.test(`${what} goes nowhere, and all behind it to the client`, async t => {
    const { socket, said, all } = await play(t, told)
    t.equal(stillToSay(socket), told)
    for (const each of writes) socket.write(each)
    t.equal(stillToSay(socket), undefined)
    socket.end(', the end')
    t.equal(await all(), `${expected}, the end`)
    t.same(said, [true])
  })
}

for (const [what, told, written, expected] of [
  ['a WebSocket that is refused', webSocket, 'HTTP/1.1 401 Unauthorized\r\n\r\nno', '\x88\x02\x03\xf4'],
  ['a WebSocket of another subprotocol', webSocket, switching.replace(': a', ': b'), '\x88\x02\x03\xf4'],
  [
    'a WebSocket with other extensions',
    webSocket,
    switching.replace('\r\n\r\n', '\r\nSec-WebSocket-Extensions: x\r\n\r\n'),
    '\x88\x02\x03\xf4'
  ],
  ['an event stream that is none any more', events, ok, '0\r\n\r\n'],
  [
    'a stream that is compressed now',
    chunked,
    ok.replace('\r\n\r\n', '\r\nContent-Encoding: gzip\r\n\r\n'),
    ''
  ],
  ['a stream of another length', { ...chunked, framing: '9' }, ok, '']
] as const) {
  t.test(`${what} ends, and its client gets nothing but the reason`, async t => {
    const { client, socket, said, all } = await play(t, told)
    socket.write(written)
    socket.write('more')
    socket.end('and more')
    socket.once('finish', () => socket.destroy()) // as ws does, and Fastify
    client.write('something that is on its way')
    await once(socket, 'finish')
    t.notOk(socket.destroyed, 'it is read on, so that nothing resets it')
    t.equal(await all(), expected)
    t.same(said, [false])
    client.end()
    if (!socket.destroyed) await once(socket, 'close')
  })
}

t.test('what is given to end() is a head, too', async t => {
  const { socket, all } = await play(t, webSocket)
  socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n')
  t.equal(await all(), '\x88\x02\x03\xf4')
})
