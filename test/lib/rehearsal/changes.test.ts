import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Outcome } from '../../../lib/rehearsal/change.js'
import { scheduleChanges } from '../../../lib/rehearsal/changes.js'
import { createDeferred } from '../../../lib/time/deferred.js'

/** What happened, in its order. */
function setUp(begin: (number: number) => { ready: Promise<Outcome>; over: Promise<Outcome> }, every = 100) {
  const told: string[] = []
  const tally = {
    around: (number?: number) => void told.push(`around ${number}`),
    learned: () => {}
  }
  const watcher = { began: () => {}, ready: (number: number) => void told.push(`ready ${number}`) }
  const ending = new AbortController()
  let count = 0
  const changes = scheduleChanges({ time: 850, every }, () => begin(++count), tally, watcher, ending.signal)
  return { changes, told, end: () => ending.abort() }
}

const outcome = (some: Outcome) => ({
  ready: Promise.resolve(some),
  over: Promise.resolve({ ...some, drain: 1 })
})

t.test('changes come one after the other, as long as half a second of load remains', async t => {
  const { changes, told } = setUp(() => outcome({ boot: 1 }))
  await changes.done
  const settled = await changes.settled()
  t.ok(
    settled.length >= 1 && settled.length <= 3,
    `${settled.length} of at most 3, where this machine is slow`
  )
  for (const [index, { number, at }] of settled.entries()) {
    t.equal(number, index + 1)
    t.ok(at > number * 100 - 10, 'each at its own time')
  }
  t.match(settled[0], { boot: 1, drain: 1 })
  t.same(told.at(-1), 'around undefined', 'what comes long after it is calm again')
  t.equal(told.filter(line => line === 'around undefined').length, 1, 'but not while another is under way')
})

t.test('one that takes longer is waited for, and the next comes at its own time', async t => {
  const first = createDeferred<Outcome>()
  const { changes, told } = setUp(number =>
    number === 1 ? { ready: first.promise, over: first.promise } : outcome({ boot: 1 })
  )
  await sleep(250)
  t.same(told, ['around 1'])
  first.resolve({ failure: { code: 'X', message: 'no' } })
  await changes.done
  const settled = await changes.settled()
  t.match(settled[0], { number: 1, failure: { code: 'X' } })
  for (const { at } of settled.slice(1)) t.ok(at > 299, 'on the clock of all')
})

t.test('when it is ended no other begins', async t => {
  const { changes, end } = setUp(() => outcome({ boot: 1 }), 200)
  end()
  await changes.done
  t.same(await changes.settled(), [])
})
