import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { ResolvedOptions } from '../../../lib/options/given.js'
import { installStandaloneSignals } from '../../../lib/process/standalone-signals.js'
import { createOwnListeners } from '../../../lib/signals/own-listeners.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playHost } from '../../helper/play/host.ts'
import { playApplication } from '../../helper/play/process.ts'

function play(options: Partial<ResolvedOptions> = {}) {
  const host = playHost()
  const { application, lines } = playApplication(options)
  const calls: string[] = []
  const code = createDeferred<number>()
  const state = { isServing: true, lingers: false }
  const master = {
    close(signal: NodeJS.Signals | null) {
      calls.push(`close ${signal}`)
      return code.promise
    },
    hurry() {
      const { lingers } = state
      if (lingers) calls.push('hurry')
      state.lingers = false
      return lingers
    },
    kill: () => void calls.push('kill'),
    abandon: () => void calls.push('abandon')
  }
  const handlers = { master: () => master, isServing: () => state.isServing, log: application.log }
  const signals = installStandaloneSignals({ application, own: createOwnListeners(host) }, handlers, host)
  return { host, calls, lines, code, state, signals }
}

t.test('a signal closes, a second one ends all at once', async t => {
  const { host, calls, code } = play()
  host.emit('SIGTERM', 'SIGTERM')
  t.same(calls, ['close SIGTERM'])
  host.emit('SIGINT', 'SIGINT')
  t.same(calls, ['close SIGTERM', 'kill'])
  code.resolve(0)
  t.equal(await host.exited, 1)
})

t.test('a second signal that only skips a delay ends nothing', t => {
  const { host, calls, state } = play()
  host.emit('SIGTERM', 'SIGTERM')
  state.lingers = true
  host.emit('SIGINT', 'SIGINT')
  t.same(calls, ['close SIGTERM', 'hurry'])
  t.end()
})

t.test('remove() leaves nothing behind', t => {
  const { host, signals } = play()
  t.match(host.listening(), { SIGTERM: 1, SIGINT: 1, uncaughtException: 1, exit: 1 })
  signals.remove()
  t.same(host.listening(), {})
  t.end()
})

t.test('stop() is what SIGTERM is, and the application hears of it', async t => {
  const { host, calls, signals } = play()
  const told: string[] = []
  host.on('SIGTERM', (signal: string) => void told.push(signal))
  await turn()
  signals.stop()
  t.same(calls, ['close null'])
  t.same(told, ['SIGTERM'])
})

t.test('exit(0) gives up an upgrade, or ends the worker that serves; any other code lets it go on', t => {
  const { host, calls, state } = play()
  host.emit('exit', 1)
  t.same(calls, [])
  host.emit('exit', 0)
  t.same(calls, ['abandon'])
  state.isServing = false
  host.emit('exit', 0)
  t.same(calls, ['abandon', 'close null'])
  t.end()
})

t.test('what the application listens for goes with it, and no signal meets its default action', async t => {
  const { host, calls, lines, signals } = play()
  const told: string[] = []
  host.on('SIGTERM', () => void told.push('own listener'))
  host.on('uncaughtException', () => void told.push('reporter'))
  await turn()
  signals.retire()
  for (const event of ['SIGTERM', 'SIGINT']) {
    t.equal(host.rawListeners(event).length, 1, event)
    t.notOk(host.gaps.has(event), event)
  }
  host.emit('uncaughtException', new Error('of what is left'))
  t.same(calls, [], 'it ends nothing')
  t.same(lines, ['error: uncaught error in a retired generation'])
  t.same(told, ['reporter'])
  host.emit('SIGTERM', 'SIGTERM')
  t.same(calls, ['close SIGTERM'])
  t.same(told, ['reporter'])
})

t.test('the master that is left closes on signals also where the application closed by itself', t => {
  const { host, calls, signals } = play({ closeSignals: false, reloadSignal: false })
  t.same(Object.keys(host.listening()), ['exit'])
  signals.retire()
  t.same(host.listening(), { exit: 1, SIGTERM: 1, SIGINT: 1 })
  host.emit('SIGINT', 'SIGINT')
  t.same(calls, ['close SIGINT'])
  t.end()
})
