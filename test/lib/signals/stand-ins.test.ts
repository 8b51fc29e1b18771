import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { AnyListener } from '../../../lib/signals/host.js'
import { ours } from '../../../lib/signals/signal-listeners.js'
import { createStandIns, isSignal } from '../../../lib/signals/stand-ins.js'
import { playHost } from '../../helper/play/host.ts'

/** Who is asked for runs. */
function play() {
  const host = playHost()
  const calls: string[] = []
  const standIns = createStandIns(
    {
      onCall(standIn, args) {
        calls.push(`${standIn.event} of ${standIn.listener.name}`)
        standIn.run(args)
      },
      onTakenOff: () => void calls.push('taken off')
    },
    host
  )
  return { host, calls, standIns }
}

t.test('a stand-in is asked in place of each listener but ours, also of one that comes later', async t => {
  const { host, calls, standIns } = play()
  const guard = ours(() => void calls.push('guard'))
  host.on('SIGTERM', guard)
  host.on('SIGTERM', function first(signal: string) {
    calls.push(`first ${signal}`)
  })
  standIns.follow('SIGTERM')
  host.on('SIGTERM', function second() {
    calls.push('second')
  })
  await turn()
  t.same(
    standIns.of('SIGTERM').map(({ listener }) => listener.name),
    ['first', 'second']
  )
  host.emit('SIGTERM', 'SIGTERM')
  t.same(calls, ['guard', 'SIGTERM of first', 'first SIGTERM', 'SIGTERM of second', 'second'])
  t.ok(standIns.isFollowed('SIGTERM'))
  t.notOk(standIns.isFollowed('SIGINT'))
})

t.test('leave() gives the listeners their places back, and nothing is told any more', async t => {
  const { host, calls, standIns } = play()
  const [first, second]: AnyListener[] = [() => {}, () => {}]
  host.on('SIGTERM', first!)
  host.on('SIGTERM', second!)
  standIns.follow('SIGTERM')
  standIns.leave()
  t.same(host.rawListeners('SIGTERM'), [first, second])
  host.off('SIGTERM', first!)
  host.on('SIGTERM', first!)
  await turn()
  t.same(host.rawListeners('SIGTERM'), [second, first])
  t.same(calls, [])
  host.off('SIGTERM', first!)
  host.off('SIGTERM', second!)
  t.same(host.listening(), {})
})

t.test('who takes off its listener, or a stand-in, is heard of; what we rearrange is not', async t => {
  const { host, calls, standIns } = play()
  const [first, second]: AnyListener[] = [() => {}, () => {}]
  host.on('SIGTERM', first!)
  standIns.follow('SIGTERM')
  host.on('SIGTERM', second!)
  await turn()
  t.same(calls, [])
  host.off('SIGTERM', first!)
  t.same(calls, ['taken off'])
  const [standIn] = standIns.of('SIGTERM')
  t.ok(standIn?.isInstalled())
  standIn?.takeOff()
  t.notOk(standIn?.isInstalled())
  t.same(calls, ['taken off', 'taken off'])
})

t.test('an event that is no signal is followed for close-with-grace alone', t => {
  const { host, standIns } = play()
  const run = (_given: object) => {}
  host.on('uncaughtException', () => {})
  host.on('uncaughtException', function onError(err: Error) {
    run({ err })
  })
  standIns.follow('uncaughtException')
  t.same(
    standIns.of('uncaughtException').map(({ listener }) => listener.name),
    ['onError']
  )
  t.same([isSignal('SIGTERM'), isSignal('uncaughtException')], [true, false])
  t.end()
})
