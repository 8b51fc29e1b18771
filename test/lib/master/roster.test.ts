import t from 'tap'
import { createRoster } from '../../../lib/master/roster.js'
import { playGeneration } from '../../helper/generation.ts'

const crash = { code: 1, signal: null }

/** A roster whose clock the test sets. */
function setUp() {
  const clock = { time: 0 }
  const roster = createRoster(() => clock.time)
  const [one, two, three] = [playGeneration(1), playGeneration(2), playGeneration(3)]
  const list = () =>
    roster.list().map(({ generation, state, since }) => `${generation.number} ${state} ${since}`)
  return { roster, clock, list, one, two, three }
}

t.test('the list has the one that serves first, then one that boots, then those that drain', async t => {
  const { roster, clock, list, one, two, three } = setUp()
  roster.serves(one)
  clock.time = 1
  roster.boots(two)
  t.same(list(), ['1 serving 0', '2 booting 1'])
  clock.time = 2
  roster.serves(two)
  roster.drains(one)
  clock.time = 3
  roster.boots(three)
  t.same(list(), ['2 serving 2', '3 booting 3', '1 draining 2'])
  clock.time = 4
  roster.serves(three)
  roster.drains(two)
  t.same(list(), ['3 serving 4', '1 draining 2', '2 draining 4'], 'as they have begun to')
  roster.gone(one)
  t.same(list(), ['3 serving 4', '2 draining 4'])
})

t.test('the one that serves is one that has taken over, and does not drain', async t => {
  const { roster, one } = setUp()
  roster.boots(one)
  t.equal(roster.serving(), undefined)
  roster.serves(one)
  t.equal(roster.serving(), one)
  t.notOk(roster.isDraining(one))
  roster.drains(one)
  t.equal(roster.serving(), undefined)
  t.ok(roster.isDraining(one))
  roster.gone(one)
  t.notOk(roster.isDraining(one))
})

t.test('a second order to drain does not begin anew', async t => {
  const { roster, clock, list, one } = setUp()
  roster.drains(one)
  clock.time = 5
  roster.drains(one)
  t.same(list(), ['1 draining 0'])
})

t.test('the death of one that serves is news once; of any other it is none', async t => {
  const { roster, one, two, three } = setUp()
  roster.serves(one)
  roster.boots(two)
  roster.drains(three)
  t.equal(roster.death(one), undefined)
  t.ok(roster.died(one, crash))
  t.same(roster.death(one), crash)
  t.notOk(roster.died(one, { code: 0, signal: null }))
  t.same(roster.death(one), crash)
  for (const other of [two, three]) t.notOk(roster.died(other, crash))
  roster.gone(three)
  t.notOk(roster.died(three, crash))
  t.equal(roster.serving(), one, 'it is what the next one follows')
})

t.test('the time that one has served ends with its death, and counts no drain', async t => {
  const { roster, clock, one, two } = setUp()
  roster.boots(one)
  clock.time = 10
  t.equal(roster.timeServed(one), 0)
  roster.serves(one)
  clock.time = 15
  t.equal(roster.timeServed(one), 5)
  roster.died(one, crash)
  clock.time = 100
  t.equal(roster.timeServed(one), 5)
  roster.serves(two)
  clock.time = 120
  roster.drains(two)
  t.equal(roster.timeServed(two), 0)
})
