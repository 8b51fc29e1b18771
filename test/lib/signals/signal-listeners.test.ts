import t from 'tap'
import {
  hasNoListener,
  isOurs,
  listenersOf,
  ours,
  withoutGap
} from '../../../lib/signals/signal-listeners.js'
import { playHost } from '../../helper/play/host.ts'

t.test('a listener of ours is marked, and is the same function', t => {
  const listener = () => {}
  t.notOk(isOurs(listener))
  t.equal(ours(listener), listener)
  t.ok(isOurs(listener))
  t.end()
})

t.test('what listened at one moment is taken off later, and nothing that came since', t => {
  const host = playHost()
  const run = (_given: object) => {}
  const later = () => {}
  const reporter = () => {}
  host.on('SIGTERM', () => {})
  host.on('SIGINT', () => {})
  host.on('uncaughtException', reporter)
  host.on('uncaughtException', function onError(err: Error) {
    run({ err })
  })
  const takeOff = listenersOf(['SIGTERM', 'SIGINT'], true, host)
  host.on('SIGTERM', later)
  takeOff()
  t.same(host.rawListeners('SIGTERM'), [later])
  t.ok(hasNoListener('SIGINT', host))
  t.notOk(hasNoListener('SIGTERM', host))
  t.same(host.rawListeners('uncaughtException'), [reporter], "only close-with-grace's ends the process")
  t.end()
})

t.test('listeners for errors stay where they are not asked for', t => {
  const host = playHost()
  const run = (_given: object) => {}
  host.on('uncaughtException', function onError(err: Error) {
    run({ err })
  })
  listenersOf(['SIGTERM'], false, host)()
  t.equal(host.rawListeners('uncaughtException').length, 1)
  t.end()
})

t.test('while listeners are exchanged there is one, also where that fails', t => {
  const host = playHost()
  const old = () => {}
  host.on('SIGHUP', old)
  const exchange = () => {
    host.off('SIGHUP', old)
    t.notOk(hasNoListener('SIGHUP', host))
    host.on('SIGHUP', old)
    return 'done'
  }
  t.equal(withoutGap(['SIGHUP'], host, exchange), 'done')
  t.notOk(host.gaps.has('SIGHUP'))
  t.same(host.rawListeners('SIGHUP'), [old])
  t.throws(() =>
    withoutGap(['SIGHUP'], host, () => {
      throw new Error('on purpose')
    })
  )
  t.same(host.rawListeners('SIGHUP'), [old])
  t.end()
})
