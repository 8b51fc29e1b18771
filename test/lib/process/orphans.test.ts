import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createOrphans } from '../../../lib/process/orphans.js'
import { playHost } from '../../helper/play/host.ts'
import { playLog } from '../../helper/play/log.ts'

function play({ pids = [101, 102], endTimeout = 600_000 } = {}) {
  const host = playHost()
  const { log, lines } = playLog()
  const living = new Set(pids)
  const team = { orphans: () => [...living] }
  const orphans = createOrphans({ generation: 2, team, log, endTimeout: () => endTimeout }, host)
  return { ...host, host, lines, living, orphans }
}

t.test('each is told to end once, and waited for', async t => {
  const { asked, living, orphans } = play()
  t.ok(orphans.serve())
  await orphans.ended() // nobody has been told
  orphans.end()
  orphans.end()
  t.same(asked, ['kill 101 SIGTERM', 'kill 102 SIGTERM'])
  t.notOk(orphans.serve())
  let isOver = false
  const ended = orphans.ended().then(() => (isOver = true))
  living.delete(101)
  await turn()
  t.notOk(isOver)
  living.delete(102)
  await ended
})

t.test('one that has ended since it was looked at keeps nobody else from hearing of it', t => {
  const { asked, host, orphans } = play()
  const { kill } = host
  host.kill = (pid, signal) => {
    kill(pid, signal)
    throw Object.assign(new Error('kill ESRCH'), { code: 'ESRCH' })
  }
  orphans.end()
  t.same(asked, ['kill 101 SIGTERM', 'kill 102 SIGTERM'])
  orphans.kill()
  t.same(asked.slice(2), ['kill 101 SIGKILL', 'kill 102 SIGKILL'])
  t.end()
})

t.test('one that takes longer than its time is killed', async t => {
  const { asked, lines, orphans } = play({ pids: [101], endTimeout: -1_000 })
  orphans.end()
  await orphans.ended()
  t.same(asked, ['kill 101 SIGTERM', 'kill 101 SIGKILL'])
  t.same(lines, ['error: generation does not end, killing it'])
})

t.test('who was never told is not killed either', t => {
  const { asked, orphans } = play()
  orphans.kill()
  t.same(asked, [])
  t.end()
})
