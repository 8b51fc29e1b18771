import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { MasterEvents } from '../../../lib/master/events.js'
import type { Generation } from '../../../lib/master/generation.js'
import type { Master } from '../../../lib/master/master.js'
import { tellServiceManager } from '../../../lib/systemd/tell.js'
import { createDeferred } from '../../../lib/time/deferred.js'

/** A master whose state the test sets, and what systemd is told of it. */
async function setUp(state: Master['state'], checked = Promise.resolve()) {
  const said: string[] = []
  const serving = generation(1, 7)
  const master = {
    events: new EventEmitter<MasterEvents>(),
    state,
    serving: () => (['starting', 'replacing'].includes(master.state) ? undefined : serving)
  }
  tellServiceManager(master as unknown as Master, {
    ready: status => said.push(`READY ${status}`),
    reloading: () => said.push('RELOADING'),
    stopping: ms => said.push(`STOPPING ${ms}`),
    status: text => said.push(`STATUS ${text}`),
    close() {}
  })
  await turn()
  return { master, said, next: generation(2, 8) }

  function generation(number: number, pid: number) {
    return { number, ready: checked, processes: () => [{ pid }] } as unknown as Generation
  }
}

const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'it ended')

t.test('a first start is ready, and no reload', async t => {
  const { master, said } = await setUp('starting')
  master.events.emit('ready', { generation: 1, pid: 7, ms: 5 })
  t.same(said, ['STATUS generation 1 is booting', 'READY generation 1 serves (pid 7)'])
})

t.test('a reload that works, and one that fails, end with READY', async t => {
  const { master, said, next } = await setUp('serving')
  said.length = 0
  master.events.emit('booting', next)
  master.events.emit('ready', { generation: 2, pid: 8, ms: 5 })
  t.same(said.splice(0), ['RELOADING', 'STATUS generation 2 is booting', 'READY generation 2 serves (pid 8)'])
  master.events.emit('booting', next)
  master.events.emit('failed', next, error, 5)
  t.same(said, [
    'RELOADING',
    'STATUS generation 2 is booting',
    `READY generation 1 serves on (pid 7), 2 failed: ${error.message}`
  ])
})

t.test('a reload that is refused is over at once', async t => {
  const { master, said } = await setUp('serving')
  said.length = 0
  master.events.emit('refused', error)
  t.same(said, ['RELOADING', `READY generation 1 serves on (pid 7), ${error.message}`])
})

t.test('one that is refused because another is under way ends with that', async t => {
  const { master, said } = await setUp('serving')
  said.length = 0
  master.state = 'upgrading'
  master.events.emit('refused', error)
  t.same(said, ['RELOADING'])
})

t.test('a reload that ends the pause after a crash is one', async t => {
  const { master, said, next } = await setUp('serving')
  said.length = 0
  master.state = 'replacing'
  master.events.emit('booting', next)
  t.equal(said[0], 'RELOADING')
})

t.test('on the way out nothing but that is told', async t => {
  const { master, said } = await setUp('serving')
  said.length = 0
  master.state = 'closing'
  master.events.emit('closing', 41_000)
  master.events.emit('refused', error)
  t.same(said, ['STOPPING 41000'])
})

t.test('of several workers it is told how far they are, and how many serve', async t => {
  const { master, said } = await setUp('serving')
  said.length = 0
  const next = { number: 2, processes: () => [{ pid: 8 }, { pid: 9 }] } as unknown as Generation
  master.events.emit('booting', next)
  master.events.emit('workerReady', next, { worker: 0, pid: 8 }, 5)
  master.events.emit('ready', { generation: 2, pid: 8, ms: 5 })
  t.same(said, [
    'RELOADING',
    'STATUS generation 2 is booting',
    'STATUS generation 2 is booting, its worker 0 is ready',
    'READY generation 2 serves (2 workers, the first one pid 8)'
  ])
})

t.test('a worker that takes the place of another is no news', async t => {
  const { master, said } = await setUp('serving')
  said.length = 0
  master.events.emit('workerReady', master.serving()!, { worker: 1, pid: 9 }, 5)
  t.same(said, [])
})

t.test('one that serves before it has passed its check is not ready before', async t => {
  const checked = createDeferred()
  const { master, said, next } = await setUp('serving', checked.promise)
  t.same(said, [])
  master.events.emit('booting', next)
  master.events.emit('failed', next, error, 5)
  master.events.emit('refused', error)
  t.same(said.splice(0), [
    'STATUS generation 2 is booting',
    `STATUS 2 failed: ${error.message}`,
    `STATUS ${error.message}`
  ])
  checked.resolve()
  await turn()
  t.same(said, ['READY generation 1 serves (pid 7)'])
})

t.test('nor is it ever, if another one is ready before it', async t => {
  const checked = createDeferred()
  const { master, said, next } = await setUp('serving', checked.promise)
  master.events.emit('booting', next)
  master.events.emit('ready', { generation: 2, pid: 8, ms: 5 })
  said.length = 0
  master.serving = () => next
  checked.resolve()
  await turn()
  t.same(said, [])
})

t.test('a check that fails is told while it does', async t => {
  const { master, said, next } = await setUp('serving')
  said.length = 0
  master.events.emit('booting', next)
  const failure = { request: 'GET /health', outcome: 'answered 503', body: 'down' }
  master.events.emit('unchecked', next, undefined, failure)
  master.events.emit('unchecked', next, 1, failure)
  master.events.emit('unchecked', master.serving()!, 1, failure) // of one that takes the place of another
  t.same(said.slice(2), [
    'STATUS generation 2 is booting, GET /health answered 503',
    'STATUS generation 2 is booting, GET /health answered 503 in worker 1'
  ])
})

const left = { left: 20_000, candidate: { responses: 0, errors: 0 }, current: { responses: 0, errors: 0 } }

t.test('a reload lasts until the end of its probation, whose begin is told once', async t => {
  const { master, said, next } = await setUp('serving')
  said.length = 0
  master.events.emit('booting', next)
  master.state = 'probation'
  master.events.emit('probation', next, left)
  master.events.emit('probation', next, { ...left, left: 19_500 })
  t.same(said.splice(0), [
    'RELOADING',
    'STATUS generation 2 is booting',
    'STATUS generation 1 serves (pid 7), generation 2 is on probation for 20 s'
  ])
  master.events.emit('refused', error)
  t.same(said.splice(0), ['RELOADING'], 'another SIGHUP has to be answered by the end of this one')
  master.events.emit('ready', { generation: 2, pid: 8, ms: 5 })
  t.same(said, ['READY generation 2 serves (pid 8)'])
})

t.test('one that is rolled back is over by READY, with the reason', async t => {
  const { master, said, next } = await setUp('serving')
  master.events.emit('booting', next)
  master.events.emit('probation', next, left)
  said.length = 0
  const error = new GracefulUpgradeError(
    'GRACEFUL_UPGRADE_ROLLED_BACK',
    'generation 2: it has ended by SIGKILL'
  )
  master.events.emit('failed', next, error, 5)
  t.same(said, [`READY generation 1 serves on (pid 7), 2 failed: ${error.message}`])
})
