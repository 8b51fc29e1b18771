import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { type CloseHandlers, onClose } from '../../../lib/signals/on-close.js'
import { isOurs } from '../../../lib/signals/signal-listeners.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playHost } from '../../helper/play/host.ts'
import { playLog } from '../../helper/play/log.ts'

function play(given: Partial<CloseHandlers> = {}) {
  const host = playHost()
  const { log, lines } = playLog()
  const calls: string[] = []
  const code = createDeferred<number>()
  const closing = onClose(
    {
      signals: ['SIGTERM', 'SIGINT'],
      errors: true,
      log,
      close(signal, error) {
        calls.push(`close ${signal ?? error?.message}`)
        return code.promise
      },
      onSecond: () => void calls.push('second'),
      ...given
    },
    host
  )
  return { host, calls, lines, code, closing }
}

t.test('a signal closes, and the process ends with the code that comes of it', async t => {
  const { host, calls, lines, code } = play()
  host.emit('SIGTERM', 'SIGTERM')
  t.same(calls, ['close SIGTERM'])
  t.same(lines, ['info: closing'])
  t.same(host.asked, [])
  code.resolve(7)
  t.equal(await host.exited, 7)
})

t.test('an uncaught error closes, and the process ends with code 1', async t => {
  const { host, calls, lines, code } = play()
  host.emit('uncaughtException', new Error('on purpose'))
  t.same(calls, ['close on purpose'])
  t.same(lines, ['fatal: uncaught error, closing'])
  code.resolve(0)
  t.equal(await host.exited, 1)
})

t.test('a second signal ends the process at once, as does a second error', async t => {
  const signals = play()
  signals.host.emit('SIGTERM', 'SIGTERM')
  signals.host.emit('SIGINT', 'SIGINT')
  t.same(signals.calls, ['close SIGTERM', 'second'])
  t.equal(await signals.host.exited, 1)
  const errors = play()
  errors.host.emit('uncaughtException', new Error('first'))
  errors.host.emit('unhandledRejection', new Error('second'))
  t.same(errors.calls, ['close first', 'second'])
  t.equal(await errors.host.exited, 1)
})

t.test('the same signal just again is the one that npm has passed on', t => {
  const { host, calls } = play()
  host.emit('SIGINT', 'SIGINT')
  host.emit('SIGINT', 'SIGINT')
  t.same(calls, ['close SIGINT'])
  t.same(host.asked, [])
  t.end()
})

t.test('one that the application has raised is no second one, and closeNow() is no signal', async t => {
  const { host, calls, closing, code } = play({ hasRaised: signal => signal === 'SIGTERM' })
  closing.closeNow()
  closing.closeNow()
  host.emit('SIGTERM', 'SIGTERM')
  t.same(calls, ['close undefined'])
  t.same(host.asked, [])
  host.emit('SIGINT', 'SIGINT')
  t.same(calls, ['close undefined', 'second'])
  code.resolve(0)
  t.equal(await host.exited, 1)
})

t.test('all that it installs is ours, and goes', t => {
  const { host, closing } = play()
  const counts = { SIGTERM: 1, SIGINT: 1, uncaughtException: 1, unhandledRejection: 1 }
  t.same(host.listening(), counts)
  for (const event of Object.keys(counts)) t.ok(host.rawListeners(event).every(isOurs), event)
  closing.leave()
  t.same(host.listening(), {})
  t.same(play({ errors: false, signals: [] }).host.listening(), {})
  t.end()
})

t.test('the real close-with-grace takes uncaught errors, and no signal', t => {
  const { log } = playLog()
  const events = ['SIGHUP', 'SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR2', 'SIGSEGV', 'beforeExit']
  const errors = ['uncaughtException', 'unhandledRejection']
  const count = (some: string[]) => some.map(event => process.listenerCount(event))
  const before = { events: count(events), errors: count(errors) }
  const { leave } = onClose({ signals: [], errors: true, log, close: async () => 0, onSecond() {} })
  t.same(count(events), before.events)
  t.same(
    count(errors),
    before.errors.map(some => some + 1)
  )
  leave()
  t.same(count(errors), before.errors)
  t.end()
})

t.test('an error in a delay is the first one, and ends the delay', async t => {
  const over = createDeferred()
  const hurry = () => {
    over.resolve()
    return true
  }
  const { host, calls, lines, code } = play({ hurry, delayed: () => over.promise })
  host.emit('SIGTERM', 'SIGTERM')
  host.emit('uncaughtException', new Error('on purpose'))
  t.same(calls, ['close SIGTERM', 'close SIGTERM'])
  t.same(lines, ['info: closing', 'fatal: uncaught error, closing'])
  await over.promise
  t.same(host.asked, [])
  code.resolve(0)
  t.equal(await host.exited, 1)
  const drained = play({ delayed: () => Promise.resolve() })
  drained.host.emit('SIGTERM', 'SIGTERM')
  await turn()
  drained.host.emit('uncaughtException', new Error('on purpose'))
  t.same(drained.calls, ['close SIGTERM', 'second'], 'behind it, it is as ever')
})

t.test('a second signal may only skip a delay; the one behind it ends the process', async t => {
  let lingers = true
  const hurry = () => {
    const was = lingers
    lingers = false
    return was
  }
  const { host, calls, lines } = play({ hurry })
  host.emit('SIGTERM', 'SIGTERM')
  host.emit('SIGTERM', 'SIGTERM')
  t.ok(lingers, 'which npm has passed on')
  host.emit('SIGINT', 'SIGINT')
  host.emit('SIGINT', 'SIGINT')
  t.same(lines, ['info: closing', 'info: second signal, draining now'], 'and so it does with that one')
  t.same(calls, ['close SIGTERM'])
  host.emit('SIGTERM', 'SIGTERM')
  t.same(calls, ['close SIGTERM', 'second'])
  t.equal(await host.exited, 1)
})

t.test('an uncaught error waits for no delay', t => {
  const { host, calls } = play({ hurry: () => calls.push('hurry') > 0 })
  host.emit('uncaughtException', new Error('on purpose'))
  t.same(calls, ['close on purpose', 'hurry'])
  t.end()
})
