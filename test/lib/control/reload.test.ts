import { EventEmitter } from 'node:events'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Progress } from '../../../lib/control/messages.js'
import { reload } from '../../../lib/control/reload.js'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { MasterEvents } from '../../../lib/master/events.js'
import type { Master } from '../../../lib/master/master.js'
import { createRoster } from '../../../lib/master/roster.js'
import type { UpgradeResult } from '../../../lib/protocol/upgrade-result.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playGeneration } from '../../helper/generation.ts'

const counts = { idle: 2 } as never
const following = ['booting', 'workerReady', 'unchecked', 'probation', 'retired'] as const
const retirement = { code: 0, signal: null, report: null }

/** A reload of a master that the test plays, and what has been told of it. */
function setUp({ serves = true } = {}) {
  const events = new EventEmitter<MasterEvents>()
  const roster = createRoster()
  const [old, next] = [playGeneration(1), playGeneration(2)]
  old.connections = async () => counts
  if (serves) roster.serves(old)
  const upgrade = createDeferred<UpgradeResult>()
  const master = {
    events,
    serving: roster.serving,
    generations: roster.list,
    upgrade: () => upgrade.promise
  } as unknown as Master
  const told: Progress[] = []
  const done = reload(master, progress => told.push(progress))
  done.catch(() => {})
  return { events, roster, old, next, told, done, takeOver, upgrade }

  async function takeOver() {
    events.emit('booting', next)
    roster.serves(next)
    roster.drains(old)
    upgrade.resolve({ generation: 2, pid: 102, ms: 7 })
    await turn()
  }
}

t.test('it is told from the start of the next generation to the end of the old one', async t => {
  const { events, roster, old, next, told, done, takeOver } = setUp()
  await takeOver()
  t.same(told, [
    { stage: 'booting', generation: 2, pid: 102 },
    { stage: 'ready', generation: 2, pid: 102, ms: 7 },
    { stage: 'draining', generation: 1, pid: 101, connections: counts }
  ])
  events.emit('retired', next, retirement, 3) // of another reload
  await turn()
  t.equal(told.length, 3)
  roster.gone(old)
  events.emit('retired', old, retirement, 9)
  await done
  t.same(told.slice(3), [{ stage: 'retired', generation: 1, pid: 101, ms: 9, ...retirement }])
  for (const event of following) t.equal(events.listenerCount(event), 0, event)
})

t.test('of several workers each is told once it is ready, and none of another generation', async t => {
  const { events, old, next, told, done, upgrade } = setUp()
  events.emit('workerReady', old, { worker: 1, pid: 90 }, 5)
  events.emit('booting', next)
  events.emit('workerReady', next, { worker: 0, pid: 102 }, 6.4)
  events.emit('workerReady', old, { worker: 1, pid: 91 }, 5)
  events.emit('workerReady', next, { worker: 1, pid: 103 }, 7)
  upgrade.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED'))
  await t.rejects(done)
  t.same(told.slice(1), [
    { stage: 'worker', generation: 2, worker: 0, pid: 102, ms: 6 },
    { stage: 'worker', generation: 2, worker: 1, pid: 103, ms: 7 }
  ])
})

t.test('one that fails is told to its end, and leaves no listener behind', async t => {
  const { events, next, told, done, upgrade } = setUp()
  events.emit('booting', next)
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED')
  upgrade.reject(error)
  t.equal(await done.catch(reason => reason), error)
  t.same(told, [{ stage: 'booting', generation: 2, pid: 102 }])
  for (const event of following) t.equal(events.listenerCount(event), 0, event)
})

t.test('where a dead generation is replaced nothing drains', async t => {
  const { done, told, upgrade } = setUp({ serves: false })
  upgrade.resolve({ generation: 2, pid: 102, ms: 7 })
  await done
  t.match(told, [{ stage: 'ready' }])
})

t.test('an answer of one that has ended meanwhile is not told', async t => {
  const { events, roster, old, told, done, takeOver } = setUp()
  const late = createDeferred<null>()
  old.connections = () => late.promise
  await takeOver()
  roster.gone(old)
  events.emit('retired', old, retirement, 9)
  late.resolve(null)
  await done
  await turn()
  t.notOk(told.some(({ stage }) => stage === 'draining'))
})

t.test('a check that fails is told while it does, and none of another generation', async t => {
  const { events, old, next, told } = setUp()
  events.emit('booting', next)
  const failure = { request: 'GET /health', outcome: 'answered 503', body: 'down' }
  events.emit('unchecked', next, 1, failure)
  events.emit('unchecked', old, 0, failure) // a worker of it is replaced
  t.same(told.slice(1), [
    { stage: 'unchecked', generation: 2, worker: 1, request: 'GET /health', outcome: 'answered 503' }
  ])
})

t.test('a probation is told as it goes on, and that it has failed', async t => {
  const { events, next, told, done, upgrade } = setUp()
  events.emit('booting', next)
  const status = (left: number, errors: number) => ({
    ...{ left, candidate: { responses: 10, errors }, current: { responses: 90, errors: 0 } }
  })
  events.emit('probation', next, status(20_000, 0))
  events.emit('probation', next, status(19_500, 3))
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_ROLLED_BACK', 'it is bad')
  upgrade.reject(error)
  t.equal(await done.catch(reason => reason), error)
  t.same(told.slice(1), [
    { stage: 'probation', generation: 2, pid: 102, ...status(20_000, 0) },
    { stage: 'probation', generation: 2, pid: 102, ...status(19_500, 3) }
  ])
})

t.test('each fourth look has names for what the old generation waits for', async t => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { events, roster, old, told, done, takeOver } = setUp()
  const heldUpBy = [{ kind: 'request', method: 'GET', url: '/slow', ms: 5 }] as const
  let asked = 0
  const [played] = old.processes()
  old.processes = () => [
    {
      ...played!,
      state: 'draining',
      async heldUpBy() {
        asked++
        return heldUpBy
      }
    }
  ]
  await takeOver()
  const named = () => told.filter(each => 'heldUpBy' in each).length
  for (const [looks, times] of [
    [3, 0],
    [4, 1],
    [5, 1],
    [8, 2]
  ] as const) {
    while (told.filter(({ stage }) => stage === 'draining').length <= looks) {
      mock.timers.tick(250)
      await turn()
    }
    t.equal(asked, times)
  }
  t.equal(named(), 5, 'and they are told until there are others')
  t.match(told.at(-1), { stage: 'draining', heldUpBy })
  roster.gone(old)
  events.emit('retired', old, retirement, 9)
  await done
})
