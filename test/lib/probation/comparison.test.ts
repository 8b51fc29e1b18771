import t from 'tap'
import { chanceOf, isWorse } from '../../../lib/probation/comparison.js'

const of = (errors: number, responses: number) => ({ errors, responses })

t.test('how probable it is is what the exact test says', async t => {
  // By the sum of the binomials, in whole numbers.
  const known = [
    [of(3, 30), of(0, 270), 0.0009113151],
    [of(3, 3), of(0, 20), 0.0005646527],
    [of(1, 10), of(1, 10), 0.7631579],
    [of(5, 100), of(45, 900), 0.5730846],
    [of(30, 100), of(90, 900), 2.281379e-7]
  ] as const
  for (const [candidate, current, chance] of known)
    t.ok(Math.abs(chanceOf(candidate, current) / chance - 1) < 0.001, `${chanceOf(candidate, current)}`)
})

t.test('three errors are enough where the other generation has none, one or two never', async t => {
  t.ok(isWorse(of(3, 30), of(0, 270)))
  t.notOk(isWorse(of(2, 2), of(0, 100_000)))
})

t.test('errors that both have are no reason', async t => {
  t.notOk(isWorse(of(30, 30), of(270, 270)), 'all of them')
  t.notOk(isWorse(of(10, 100), of(90, 900)), 'the same part of them')
  t.notOk(isWorse(of(12, 100), of(90, 900)), 'a few more by chance')
  t.ok(isWorse(of(30, 100), of(90, 900)), 'but not three times as many')
})

t.test('what one client of several has met is no reason', async t => {
  t.notOk(isWorse({ ...of(3, 30), connections: 3, erring: 1 }, of(0, 270)))
  t.ok(isWorse({ ...of(3, 30), connections: 3, erring: 2 }, of(0, 270)))
  t.ok(isWorse({ ...of(3, 30), connections: 2, erring: 1 }, of(0, 270)), 'a proxy may have no more')
})

t.test('where the other one has answered nothing, nothing is known', async t => {
  t.notOk(isWorse(of(50, 50), of(0, 0)))
  t.notOk(isWorse(of(0, 0), of(0, 0)))
})
