import assert from 'node:assert/strict'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { connectionsOf } from '../../../lib/connections/connections.js'
import { defaultOptions } from '../../../lib/options.js'
import { createDeparture } from '../../../lib/process/departure.js'
import type { Instance } from '../../../lib/process/instance.js'
import { beginWayOut } from '../../../lib/process/way-out.js'
import { playLog } from '../../helper/play/log.ts'
import { playInstance, playListeners } from '../../helper/play/process.ts'

function play(given: Partial<Instance> = {}, reason: 'upgrade' | 'close' = 'close', closeTimeout = 10_000) {
  const { log, lines, fields } = playLog()
  const { listeners, calls, live } = playListeners()
  const own = {
    somethingEnded() {},
    release: () => void calls.push('release'),
    allEnded: () => void calls.push('all ended'),
    done: async () => void calls.push('own are done')
  }
  const options = { ...defaultOptions, closeTimeout, drainTimeout: 0 }
  const { instance, drained } = playInstance('app', calls, { options, ...given })
  drained.resolve()
  const begin = () => {
    const leaving = { instances: [instance], listeners, own: own as never, options, log }
    return beginWayOut(createDeparture(reason), leaving, undefined).ended
  }
  return { begin, calls, live, own, lines, fields }
}

t.test(
  'first it drains, then it closes, and then the application’s own listeners have their time',
  async t => {
    const { begin, calls } = play()
    t.equal(await begin(), 0)
    t.same(calls, ['app drains: close', 'release', 'app closes', 'all ended', 'own are done'])
  }
)

t.test('only a next generation has the listeners then', async t => {
  const { begin, calls } = play({}, 'upgrade')
  await begin()
  t.equal(calls[0], 'handOver')
})

t.test('a hook that fails, or takes too long, makes the exit code 1, and is logged', async t => {
  const failing = play({ app: { close: () => Promise.reject(new Error('on purpose')) } as never })
  t.equal(await failing.begin(), 1)
  t.same(failing.lines, ['error: closing the application failed'])
  t.ok(failing.calls.includes('own are done'), 'these are waited for all the same')
  const slow = play({ app: { close: () => new Promise(() => {}) } as never }, 'close', 0)
  t.equal(await slow.begin(), 1)
  t.match(slow.fields, [{ err: { message: 'onClose hooks took longer than closeTimeout (0 ms)' } }])
})

t.test('an instance that boots is closed, and not waited for', async t => {
  let isClosed = false
  const close = () => {
    isClosed = true
    return new Promise(() => {})
  }
  const { begin, lines } = play({ booted: false, app: { close } as never })
  t.equal(await begin(), 0)
  t.ok(isClosed)
  t.same(lines, [])
})

t.test('own listeners that take longer are told of, and not waited for', async t => {
  const { begin, own, lines } = play({}, 'close', 0)
  Object.assign(own, { done: () => new Promise(() => {}) })
  t.equal(await begin(), 0)
  t.same(lines, ['warn: not waiting any longer'])
})

t.test(
  'other servers of the process end too, and what was held back waits for their connections',
  async t => {
    const { begin, calls, live } = play()
    const server = net.createServer()
    connectionsOf(server)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    live.push({ key: 'a', bound: 'a', server })
    const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
    const [socket] = await once(server, 'connection')
    t.teardown(() => client.destroy())
    const ended = begin()
    client.on('close', () => calls.push('client has gone'))
    socket.on('close', () => calls.push('connection has gone'))
    t.equal(await ended, 0)
    t.notOk(server.listening)
    t.ok(calls.indexOf('release') > calls.indexOf('connection has gone'))
    t.ok(calls.indexOf('connection has gone') >= 0)
  }
)

/** An instance that has a `close` of its own. */
function playClose(close: () => unknown, given: Partial<Instance> = {}, closeTimeout?: number) {
  const options = { ...defaultOptions, drainTimeout: 0, close }
  return play({ options, ...given }, 'close', closeTimeout)
}

t.test('close is called in place of app.close(), which follows; and then what it has held back', async t => {
  const { begin, calls } = playClose(async () => {
    await sleep(1)
    calls.push('close')
  })
  t.equal(await begin(), 0)
  t.same(calls, ['app drains: close', 'close', 'app closes', 'release', 'all ended', 'own are done'])
})

t.test('where the application closes already, or boots yet, its own is not called', async t => {
  for (const given of [{ isCloseCalled: true }, { booted: false }]) {
    const { begin, calls } = playClose(() => t.fail(), given)
    t.equal(await begin(), 0)
    t.ok(calls.includes('app closes'))
  }
})

t.test('one that fails, or never ends, is as an onClose hook that does', async t => {
  for (const close of [() => Promise.reject(new Error('on purpose')), () => assert.fail('on purpose')]) {
    const { begin, calls, fields } = playClose(close)
    t.equal(await begin(), 1)
    t.match(fields, [{ err: { message: 'on purpose' } }])
    t.ok(calls.includes('app closes'), 'all the same')
    t.notOk(calls.includes('release'), 'what waits for its end is not called')
  }
  const slow = playClose(() => new Promise(() => {}), {}, 0)
  t.equal(await slow.begin(), 1)
  t.match(slow.fields, [{ err: { message: 'onClose hooks took longer than closeTimeout (0 ms)' } }])
})

t.test('what it has held back has what is left of closeTimeout', async t => {
  const { begin, own, lines } = playClose(() => sleep(1_500), {}, 2_000)
  own.done = () => new Promise(() => {})
  const begun = performance.now()
  t.equal(await begin(), 0)
  t.ok(performance.now() - begun < 3_000)
  t.same(lines, ['warn: not waiting any longer'])
})
