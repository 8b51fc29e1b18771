import t from 'tap'
import { watchLauncher } from '../../../lib/signals/launcher.js'
import { playHost } from '../../helper/play/host.ts'
import { playLog } from '../../helper/play/log.ts'

t.test('that the launcher has ended is said once', t => {
  const host = playHost()
  const { log, lines, fields } = playLog()
  watchLauncher(log, 100, host)
  host.tick()
  t.same(lines, [])
  host.ppid = 1
  host.tick()
  host.tick()
  t.same(lines, ['info: launcher has ended, signals go to the master'])
  t.same(fields, [{ launcher: 10, master: 100 }])
  t.end()
})

t.test('nobody is told any more once that is taken back, nor where init is the launcher', t => {
  const [host, orphan] = [playHost(), playHost()]
  const { log, lines } = playLog()
  watchLauncher(log, 100, host)()
  orphan.ppid = 1
  watchLauncher(log, 100, orphan)
  host.ppid = 1
  orphan.ppid = 2
  host.tick()
  orphan.tick()
  t.same(lines, [])
  t.end()
})
