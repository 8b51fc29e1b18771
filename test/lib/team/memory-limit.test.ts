import t, { type Test } from 'tap'
import type { Load, Worker } from '../../../lib/master/generation.js'
import { limitMemory } from '../../../lib/team/memory-limit.js'
import { stopTimers } from '../../helper/timers.ts'

const load = (rss: number): Load => ({ elu: 0, cpu: 0, rss })

/** One worker with so much memory at each look; those that had too much are noted. */
function setUp(t: Test, looks: readonly (number | null)[], served = 60_000) {
  const pass = stopTimers(t)
  const left = [...looks]
  const worker = {
    processes: () => [{ worker: 0 }],
    async load() {
      const rss = left.shift() ?? null
      return rss === null ? null : load(rss)
    }
  } as unknown as Worker
  const exceeded: number[] = []
  const { stop } = limitMemory({
    limit: 100,
    workers: () => [[worker, served]],
    onExceeded: (given, rss) => given === worker && exceeded.push(rss)
  })
  t.teardown(stop)
  return {
    exceeded,
    stop,
    async look(times = looks.length) {
      for (let index = 0; index < times; index++) await pass(2_000)
    }
  }
}

t.test('a worker has too much memory when two looks in a row say so', async t => {
  const { look, exceeded } = setUp(t, [101, 100, 101, 102, 90])
  await look()
  t.same(exceeded, [102])
})

t.test('one that does not answer is left alone', async t => {
  const { look, exceeded } = setUp(t, [101, null, 101])
  await look()
  t.same(exceeded, [])
})

t.test('one that has just started is left alone, or it would be replaced for ever', async t => {
  const { look, exceeded } = setUp(t, [101, 102, 103], 9_999)
  await look()
  t.same(exceeded, [])
})

t.test('it is told once, however long it takes until another one has its place', async t => {
  const { look, exceeded } = setUp(t, [101, 102, 103, 104, 105])
  await look()
  t.same(exceeded, [102])
})

t.test('where one after the other has too much soon, the time doubles that each is left alone', async t => {
  const pass = stopTimers(t)
  let worker = follow()
  let served = 0
  const lifetimes: number[] = []
  const { stop } = limitMemory({
    limit: 100,
    workers: () => [[worker, served]],
    onExceeded() {
      lifetimes.push(served)
      worker = follow()
      served = 0
    }
  })
  t.teardown(stop)
  for (let seconds = 0; seconds < 3_000; seconds += 2) {
    served += 2_000
    await pass(2_000)
  }
  t.same(
    lifetimes.slice(0, 8),
    [12, 22, 42, 82, 162, 322, 642, 642].map(seconds => seconds * 1_000)
  )
  served = 2_000_000
  await pass(2_000)
  await pass(2_000)
  for (lifetimes.length = 0; lifetimes.length === 0; served += 2_000) await pass(2_000)
  t.same(lifetimes, [12_000], 'one that took its time is followed by one with the shortest')

  function follow(): Worker {
    return { processes: () => [{ worker: 0 }], load: async () => load(101) } as unknown as Worker
  }
})

t.test('when it is stopped nobody is looked at', async t => {
  const { look, exceeded, stop } = setUp(t, [101, 102, 103, 104])
  await look(1)
  stop()
  await look(3)
  t.same(exceeded, [])
})
