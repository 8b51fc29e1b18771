/** The loop; the test plays the workers, and time. */
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Load } from '../../../lib/master/generation.js'
import type { Shared, ShareRequest } from '../../../lib/protocol/team.js'
import { createBalance } from '../../../lib/team/balance.js'
import { playLog } from '../../helper/play/log.ts'
import { stopTimers } from '../../helper/timers.ts'

const pass = stopTimers(t)

const silence = new Promise<never>(() => {})

/** A worker that is as busy as the test says, or silent. */
function playWorker(worker: number, elu: number | undefined) {
  const asked: ShareRequest[] = []
  const played = {
    elu,
    asked,
    looks: 0,
    answer: { wanted: 4, gone: 4 } as Shared | null | Promise<Shared>,
    processes: () => [{ worker, pid: 100 + worker }] as never,
    async load(): Promise<Load | null> {
      played.looks++
      return played.elu === undefined ? silence : { elu: played.elu, cpu: 0, rss: 0 }
    },
    async share(request: ShareRequest): Promise<Shared | null> {
      asked.push(request)
      return played.answer
    }
  }
  return played
}

function setUp(...elus: (number | undefined)[]) {
  const workers = elus.map((elu, index) => playWorker(index, elu))
  const seen = new Map<object, number>()
  const { log, lines, fields } = playLog()
  const counts = { moved: 0, closed: 0 }
  const balance = createBalance({
    members: () => [...workers],
    counts,
    log,
    onLook: (worker, elu) => void seen.set(worker, elu)
  })
  t.teardown(balance.stop)
  return {
    workers,
    balance,
    counts,
    lines,
    fields,
    seen: () => workers.map(worker => seen.get(worker)),
    async look(times: number) {
      for (let time = 0; time < times; time++) {
        await pass(500)
        if (workers.some(({ elu }) => elu === undefined)) await pass(400)
      }
    }
  }
}

t.test('the busiest is asked for a share of its connections, and what has gone is counted', async t => {
  const { workers, counts, look, lines, fields, seen } = setUp(1, 0.2)
  const [busy, other] = workers
  await look(1)
  t.same(seen(), [0, 0], 'what they did while they started is nothing')
  await look(1)
  t.same(seen(), [1, 0.2])
  t.same(busy!.asked, [])
  await look(1)
  t.same(busy!.asked, [{ share: 0.2, how: 'move' }])
  t.same(other!.asked, [])
  t.same(counts, { moved: 4, closed: 0 })
  t.same(lines, ['info: connections shared'])
  t.match(fields, [{ worker: 0, generationPid: 100, elus: [1, 0.2], how: 'move', wanted: 4, gone: 4 }])
  busy!.elu = 0.2
  await look(10)
  t.equal(busy!.asked.length, 1)
})

t.test('nothing is looked at while an answer is waited for', async t => {
  const { workers, counts, look } = setUp(1, 0.2)
  const [busy] = workers
  let answer: (shared: Shared) => void = () => {}
  busy!.answer = new Promise(resolve => {
    answer = resolve
  })
  await look(6)
  t.equal(busy!.looks, 3)
  t.equal(busy!.asked.length, 1)
  answer({ wanted: 4, gone: 3 })
  await turn()
  t.same(counts, { moved: 3, closed: 0 })
  await look(1)
  t.equal(busy!.asked.length, 1)
  await look(1)
  t.equal(busy!.asked.length, 2)
})

t.test('who is too busy to give away half of what it should closes connections the next time', async t => {
  const { workers, counts, look } = setUp(1, 0.2)
  const [busy] = workers
  busy!.answer = { wanted: 4, gone: 1 }
  await look(7)
  t.same(
    busy!.asked.map(({ how }) => how),
    ['move', 'close', 'move']
  )
  t.same(counts, { moved: 2, closed: 1 })
})

t.test('who is not, or not any more, or has given away half of it, does not', async t => {
  const [unwilling, half, rested] = [setUp(0.9, 0.2), setUp(1, 0.2), setUp(1, 0.2)]
  unwilling.workers[0]!.answer = { wanted: 4, gone: 0 }
  half.workers[0]!.answer = { wanted: 4, gone: 2 }
  rested.workers[0]!.answer = { wanted: 4, gone: 1 }
  await unwilling.look(3)
  rested.workers[0]!.elu = 0.9
  await unwilling.look(4)
  for (const { workers } of [unwilling, half, rested]) {
    const hows = workers[0]!.asked.map(({ how }) => how)
    t.ok(hows.length >= 2)
    t.notOk(hows.includes('close'))
  }
  t.same(unwilling.lines, [], 'where nothing has gone nothing is said')
})

t.test('one that is silent counts as busy, and does not keep others from sharing', async t => {
  const { workers, look, seen } = setUp(undefined, 0.9, 0.2)
  const [silent, busy] = workers
  silent!.answer = null
  await look(3)
  t.same(seen(), [1, 0.9, 0.2])
  t.same(silent!.asked, [{ share: 0.2, how: 'move' }])
  await look(2)
  t.match(busy!.asked, [{ how: 'move' }])
  await look(2)
  t.match(silent!.asked[1], { how: 'close' })
})

t.test('all busy, or all but silent: nobody is asked', async t => {
  const [busy, silent] = [setUp(1, 1, 1), setUp(undefined, undefined)]
  await silent.look(6)
  for (const { workers } of [busy, silent]) for (const { asked } of workers) t.same(asked, [])
})

t.test('one alone is not even looked at; when there are more they are', async t => {
  const { workers, look } = setUp(1)
  await look(4)
  t.equal(workers[0]!.looks, 0)
  workers.push(playWorker(1, 0))
  await look(3)
  t.equal(workers[0]!.asked.length, 1)
})

t.test('when it is stopped nothing is looked at any more', async t => {
  const { workers, balance, look } = setUp(1, 0.2)
  await look(2)
  balance.stop()
  await look(4)
  t.equal(workers[0]!.looks, 2)
  t.same(workers[0]!.asked, [])
})
