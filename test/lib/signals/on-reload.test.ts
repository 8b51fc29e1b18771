import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { onReload } from '../../../lib/signals/on-reload.js'
import { playHost } from '../../helper/play/host.ts'
import { playLog } from '../../helper/play/log.ts'

function play(signal: NodeJS.Signals | false = 'SIGHUP', hasHungUp = false) {
  const host = playHost()
  const { log, lines, fields } = playLog()
  const calls: string[] = []
  const terminal = { hasHungUp: async () => hasHungUp, leave: () => void calls.push('leave') }
  const handlers = {
    reload: () => void calls.push('reload'),
    onHangup: () => void calls.push('hangup'),
    terminal
  }
  return { host, calls, lines, fields, install: () => onReload(signal, log, handlers, undefined, host) }
}

t.test('the signal upgrades, and nothing is left when that is taken back', async t => {
  const { host, calls, install } = play()
  const leave = install()
  host.emit('SIGHUP')
  await turn()
  leave()
  t.same(calls, ['reload', 'leave'])
  t.same(host.listening(), {})
})

t.test('SIGHUP of a terminal that has closed upgrades nothing, but another signal does then', async t => {
  const hangup = play('SIGHUP', true)
  hangup.install()
  hangup.host.emit('SIGHUP')
  const other = play('SIGUSR2', true)
  other.install()
  other.host.emit('SIGUSR2')
  await turn()
  t.same(hangup.calls, ['hangup'])
  t.same(other.calls, ['reload'])
})

t.test('who listens for it besides is taken off and told why, also who comes later or only once', async t => {
  const { host, lines, fields, install } = play()
  const other = () => {}
  const once = Object.assign(() => {}, { listener: function onlyOnce() {} })
  const run = (_given: object) => {}
  host.on('SIGHUP', other)
  host.on('SIGHUP', once)
  install()
  t.equal(host.rawListeners('SIGHUP').length, 1)
  t.match(fields, [{ listener: 'other' }, { listener: 'onlyOnce' }])
  t.match(lines, [/^warn: another listener on SIGHUP was taken off/, /NestJS/])
  host.on('SIGHUP', function onSignal(signal: string) {
    run({ signal })
  })
  host.on('SIGHUP', function afterFirstSignal(signal: string) {
    console.error(`second ${signal}, exiting`)
  })
  await turn()
  t.equal(host.rawListeners('SIGHUP').length, 1)
  t.match(lines[2], /closeWithGrace\(\{ skip: \['SIGHUP'\] \}/)
  t.equal(lines.length, 3, "close-with-grace's second listener is not worth a line")
  t.notOk(host.gaps.has('SIGHUP'))
})

t.test('reloadSignal: false leaves them alone', t => {
  const { host, calls, install } = play(false)
  install()()
  t.same(host.listening(), {})
  t.same(calls, [], 'the terminal, too')
  t.end()
})

t.test('a signal that has come is not lost while its listener is replaced', async t => {
  const { log, lines } = playLog()
  const terminal = { hasHungUp: async () => false, leave() {} }
  let early = 0
  let reloads = 0
  const onEarly = () => void early++
  const others = process.listeners('SIGUSR2')
  process.on('SIGUSR2', onEarly)
  await turn()
  process.kill(process.pid, 'SIGUSR2') // it is noted at once, and told of in a later turn
  const reloaded = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the signal was lost')), 10_000)
    const reload = () => {
      reloads++
      clearTimeout(timer)
      resolve()
    }
    const leave = onReload('SIGUSR2', log, { reload, onHangup() {}, terminal }, onEarly)
    process.off('SIGUSR2', onEarly)
    t.teardown(leave)
  })
  await reloaded
  t.equal(reloads, 1)
  t.equal(early, 0)
  t.equal(lines.length, others.length, 'and nobody is warned of a listener of ours')
})
