import t from 'tap'
import { atOnce, slowStart } from '../../../lib/handover/pace.js'

t.test('with a slow start the number of those that may go rises with the square of the time', async t => {
  let now = 5_000
  const pace = slowStart(100, 30_000, () => now)
  t.equal(pace.wait(), 0, 'the first goes at once')
  const times: number[] = []
  for (let gone = 0; gone < 100; gone++) {
    now += Math.max(pace.wait(), 0)
    times.push(now - 5_000)
    pace.count()
  }
  t.equal(Math.round(times[25]!), 500)
  t.equal(Math.round(times[81]!), 900)
  t.ok(times[99]! < 1_000, 'all within a second')
  now += 10_000
  pace.restart()
  pace.count()
  t.equal(pace.wait(), 100, 'a new process is slow again')
})

t.test('a slow start takes no longer than it may', async t => {
  let now = 0
  const pace = slowStart(4, 200, () => now)
  pace.count()
  t.equal(pace.wait(), 100)
  now = 150
  t.equal(pace.wait(), -50)
})

t.test('without it all go as fast as they can', async t => {
  for (let gone = 0; gone < 1_000; gone++) atOnce.count()
  t.equal(atOnce.wait(), 0)
})
