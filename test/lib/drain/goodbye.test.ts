/** Kept streams that turn out not to move, in a drain of which the application has been told that they do. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { drain } from '../../../lib/drain/drain.js'
import type { OfferAnswer } from '../../../lib/handover/offer.js'
import { createKeeper, type KeepOptions } from '../../../lib/kept/keep.js'
import { defaultOptions } from '../../../lib/options.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { follow, request, until } from '../../helper/accepted.ts'
import { playLog } from '../../helper/play/log.ts'

interface Play extends KeepOptions {
  readonly save?: () => unknown
  readonly answer?: OfferAnswer
  readonly headers?: http.OutgoingHttpHeaders
  /** After which its head is written. @default at once */
  readonly head?: Promise<unknown>
  readonly drainTimeout?: number
  readonly farewell?: Promise<unknown>
  /** Instead of one event after the other, until it closes. */
  readonly respond?: (response: ServerResponse) => void
}

const events = { 'content-type': 'text/event-stream' }

const last = /\n\n\r\n0\r\n\r\n$/

/** A stream, and a drain that has begun. */
async function play(t: Test, options: Play = {}) {
  const { save = () => 1, answer = 'unavailable', headers = events, head, respond = tick } = options
  const { log, lines } = playLog()
  const { keep } = createKeeper(log)
  const errors: unknown[] = []
  const closed: boolean[] = []
  let runs = 0
  const { server, connect } = await follow(
    t,
    http.createServer(async (request: IncomingMessage, response) => {
      runs++
      const kept = keep(response, request, save, options)
      response.on('error', error => errors.push(error)).on('close', () => closed.push(kept.moved))
      await head
      response.writeHead(200, headers)
      respond(response)
    })
  )
  const { client } = await connect()
  let text = ''
  client.setEncoding('latin1').on('data', chunk => (text += chunk))
  client.write(request())
  await until(() => (head === undefined ? /1\n\n/.test(text) : runs > 0))
  const drained = drain([server], {
    ...defaultOptions,
    drainTimeout: options.drainTimeout ?? 60_000,
    reason: () => 'upgrade',
    relay: async () => answer,
    addressOf: () => ({ key: 'tcp::0', bound: 'here' }),
    ...(options.farewell && { farewell: options.farewell }),
    log: Object.assign(Object.create(log), { child: () => log })
  })
  return {
    lines,
    errors,
    closed,
    text: () => text,
    runs: () => runs,
    /** The client closes when it has heard the end. */
    async over() {
      await until(() => /\r\n0\r\n\r\n$/.test(text) || client.destroyed)
      client.end()
      return (await drained)()
    }
  }
}

function tick(response: ServerResponse): void {
  let count = 0
  const timer = setInterval(() => response.write(`data: ${++count}\n\n`), 1)
  response.on('close', () => clearInterval(timer))
}

t.test(
  'an event stream whose state can not be saved ends, and what is written to it then is no error',
  async t => {
    const { lines, errors, closed, text, over } = await play(t, {
      save() {
        throw new Error('on purpose')
      },
      respond(response) {
        tick(response)
        response.once('prefinish', () => {
          response.write('data: too late\n\n')
          response.end('data: and later\n\n')
        })
      }
    })
    t.match(await over(), { kinds: { http1: { cut: 0 } } })
    t.match(text(), last)
    t.notMatch(text(), /late/)
    t.same(
      lines.filter(line => line.startsWith('warn')),
      ['warn: a connection is not kept: no state']
    )
    t.same(closed, [false], 'it has not moved')
    t.same(errors, [])
  }
)

t.test('one that is refused ends where it is back', async t => {
  const { runs, closed, text, over, errors } = await play(t, { answer: 'refused' })
  t.match(await over(), { kinds: { http1: { cut: 0 } } })
  t.match(text(), last)
  t.equal(runs(), 2)
  t.same(closed, [true, false])
  t.same(errors, [])
})

t.test('one that is never at rest ends before the deadline', async t => {
  const { text, over } = await play(t, { atRest: () => false, drainTimeout: 4_000 })
  t.match(await over(), { kinds: { http1: { cut: 0 } } })
  t.match(text(), last)
})

t.test('a download is no such thing: it goes on, and ends by itself', async t => {
  const over = createDeferred()
  const played = await play(t, {
    save: () => undefined,
    headers: { 'content-type': 'text/plain' },
    respond(response) {
      response.write('1\n\n')
      void over.promise.then(() => response.end('2\n\n'))
    }
  })
  await until(() => played.lines.includes('warn: a connection is not kept: no state'))
  await sleep(20) // a sweep or two, in which nothing happens
  t.notMatch(played.text(), /\r\n0\r\n/)
  over.resolve()
  t.match(await played.over(), { kinds: { http1: { cut: 0 } } })
  t.match(played.text(), /2\n\n\r\n0\r\n\r\n$/)
})

t.test('it ends when the application has said goodbye', async t => {
  const farewell = createDeferred()
  const { lines, text, over } = await play(t, { save: () => undefined, farewell: farewell.promise })
  await until(() => lines.includes('warn: a connection is not kept: no state'))
  const before = text().length
  await until(() => text().length > before + 100)
  t.notMatch(text(), /\r\n0\r\n/)
  farewell.resolve()
  await over()
  t.match(text(), last)
})

const compressed = { ...events, 'content-encoding': 'gzip' }
const isCompressed = 'warn: a stream is not kept: its response is compressed'

t.test('a compressed one is known to stay: the application ends it in its own time', async t => {
  let end = () => {}
  const { lines, text, over } = await play(t, {
    headers: compressed,
    respond(response) {
      response.write('data: 1\n\n')
      end = () => void response.end('data: bye\n\n')
    }
  })
  await until(() => lines.includes('info: draining'))
  await sleep(20)
  t.notMatch(text(), /\r\n0\r\n/)
  t.ok(lines.includes(isCompressed))
  end()
  await over()
  t.match(text(), /bye\n\n\r\n0\r\n\r\n$/)
  t.equal(lines.filter(line => line === isCompressed).length, 1)
})

t.test('one that turns out to be compressed later ends', async t => {
  const head = createDeferred()
  const { lines, text, over } = await play(t, { headers: compressed, head: head.promise })
  await until(() => lines.includes('info: draining'))
  head.resolve()
  t.match(await over(), { kinds: { http1: { cut: 0 } } })
  t.match(text(), /\r\n0\r\n\r\n$/)
  t.ok(lines.includes(isCompressed))
})
