import { Server } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { defaultOptions } from '../../../lib/options.js'
import { createApplication } from '../../../lib/process/application.js'
import { createOwnListeners } from '../../../lib/signals/own-listeners.js'
import { playHost } from '../../helper/play/host.ts'
import { noReport, playInstance, playListeners } from '../../helper/play/process.ts'

function play() {
  const { listeners, calls, live } = playListeners()
  const application = createApplication(listeners, createOwnListeners(playHost()))
  const server = Object.defineProperty(new Server(), 'listening', { value: true })
  const listen = () => live.push({ key: 'a', bound: '127.0.0.1:1', server } as never)
  return { application, calls, add, listen }

  function add(name: string, options = {}) {
    const played = playInstance(name, calls, { options: { ...defaultOptions, ...options } })
    application.add(played.instance)
    return played
  }
}

t.test('what is one per process follows the instance that came first, also when it is closed', t => {
  const { application, add } = play()
  t.equal(application.options, defaultOptions)
  t.throws(() => application.log, /no instance/)
  const first = add('first', { closeTimeout: 1, drainTimeout: 10 })
  add('second', { closeTimeout: 2, drainTimeout: 20 })
  t.same(application.times, { closeDelay: 0, endTimeout: 21 })
  application.remove(first.instance)
  t.equal(application.options.closeTimeout, 1)
  t.equal(application.log, first.instance.app.log)
  t.end()
})

t.test('nothing is closed before the last drain is over, and what waits for that', async t => {
  const { application, calls, add } = play()
  const [one, other] = [add('one'), add('other')]
  const ended = application.end('upgrade', { onDrained: async () => void calls.push('drained') })
  t.ok(application.ending)
  t.equal(application.report(), null)
  one.drained.resolve()
  await turn()
  t.same(calls, ['handOver', 'one drains: upgrade', 'other drains: upgrade'])
  other.drained.resolve()
  t.equal(await ended, 0)
  t.same(calls.slice(3), ['drained', 'one closes', 'other closes'])
  t.same(application.report(), noReport)
})

t.test('it ends once, and goes by the second reason then', async t => {
  const { application, calls, add } = play()
  const { drained, departure } = add('app')
  const first = application.end('upgrade')
  t.equal(departure()?.reason, 'upgrade')
  t.equal(application.end('close'), first)
  t.equal(departure()?.reason, 'close')
  t.equal(application.end('upgrade'), first)
  t.equal(departure()?.reason, 'close')
  drained.resolve()
  await first
  t.same(calls, ['handOver', 'app drains: upgrade', 'app closes'])
})

t.test('an instance that came while it ends is hurried too', t => {
  const { application, calls, add } = play()
  add('app')
  void application.end('upgrade')
  add('late')
  void application.end('close')
  t.equal(calls.at(-1), 'late drains: close')
  t.end()
})

t.test('close() of one instance drains that one; while all end, it waits for all', async t => {
  const { application, calls, add } = play()
  const [alone, one, other] = [add('alone'), add('one'), add('other')]
  alone.drained.resolve()
  await application.drainBeforeClose(alone.instance)
  t.same(calls, ['alone drains: close'])
  application.remove(alone.instance)

  void application.end('upgrade')
  let isOver = false
  const closing = application.drainBeforeClose(one.instance).then(() => {
    isOver = true
  })
  one.drained.resolve()
  await turn()
  t.notOk(isOver)
  other.drained.resolve()
  await closing
  t.equal(one.departure()?.reason, 'upgrade')
})

t.test('close() of one instance lets its connections go to siblings that serve on', async t => {
  const { application, add } = play()
  const { instance, drained, departure } = add('app')
  const relay = async () => 'adopted' as const
  application.siblings = relay
  void application.drainBeforeClose(instance)
  t.match(departure(), { reason: 'upgrade', relay })
  drained.resolve()
})

t.test('a signal lets it serve on for closeDelay, and then it ends', async t => {
  const { application, calls, add, listen } = play()
  const { instance, drained } = add('app', { closeDelay: 600_000 })
  t.same(application.times, { closeDelay: 600_000, endTimeout: 640_000 })
  listen()
  const ended = application.close(() => calls.push('tells'))
  t.ok(application.isClosing)
  t.notOk(application.ending)
  const closing = application.drainBeforeClose(instance)
  void application.close()
  await turn()
  t.same(calls, [], 'close() of the application itself waits, too')
  t.ok(application.hurry())
  t.notOk(application.hurry(), 'it is over')
  t.notOk(application.ending, 'who has connected by now is accepted first')
  for (; !application.ending; await turn()) t.ok(application.isClosing, 'and is not told that it is ready')
  t.notOk(application.isClosing)
  t.same(calls, ['app drains: close', 'tells'])
  drained.resolve()
  t.equal(await ended, 0)
  await closing
})

t.test('what comes in that time ends it at once, and goes by its own reason', async t => {
  const { application, calls, add, listen } = play()
  const { drained, departure } = add('app', { closeDelay: 600_000 })
  listen()
  const closed = application.close()
  const ended = application.end('upgrade')
  drained.resolve()
  t.equal(await closed, await ended)
  t.equal(departure()?.reason, 'upgrade')
  t.same(calls, ['handOver', 'app drains: upgrade', 'app closes'])
  void application.close()
  t.equal(departure()?.reason, 'close', 'all shall end now')
})

t.test('there is no delay where nothing listens, nobody takes signals, or it ends already', t => {
  const silent = play()
  silent.add('app', { closeDelay: 600_000 })
  void silent.application.close()
  t.same(silent.calls, ['app drains: close'])
  const own = play()
  own.add('app', { closeDelay: 600_000, closeSignals: false })
  own.listen()
  t.equal(own.application.times.closeDelay, 0)
  void own.application.close()
  t.same(own.calls, ['app drains: close'])
  const leaving = play()
  const { departure } = leaving.add('app', { closeDelay: 600_000 })
  leaving.listen()
  void leaving.application.end('upgrade')
  void leaving.application.close()
  t.equal(departure()?.reason, 'close')
  t.end()
})

t.test('each instance is closed by its own close, when the last request of all is answered', async t => {
  const { application, calls, add } = play()
  const both = ['one', 'other'].map(name => add(name, { close: () => void calls.push(`close of ${name}`) }))
  const ended = application.end('upgrade')
  both[0]!.drained.resolve()
  await turn()
  t.notOk(calls.some(call => call.startsWith('close of')))
  both[1]!.drained.resolve()
  t.equal(await ended, 0)
  t.same(calls.slice(3), ['close of one', 'close of other', 'one closes', 'other closes'])
})
