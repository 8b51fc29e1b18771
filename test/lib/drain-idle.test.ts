import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createQuota } from '../../lib/drain-idle.js'

t.test('without a time all end at once', async t => {
  const quota = createQuota(false)
  t.equal(quota(0), 0)
  t.equal(quota(10_000), 10_000)
})

t.test('over a time each sweep ends its share, and the last one what is left', async t => {
  const quota = createQuota(60_000)
  await sleep(100)
  const first = quota(100_000)
  t.ok(first > 100 && first < 50_000, `the first one of a minute ends ${first} of 100000`)
  const last = createQuota(10)
  await sleep(20)
  t.equal(last(100_000), 100_000)
})

t.test('a single connection ends too, at some moment of the time', async t => {
  const quota = createQuota(100)
  const begun = performance.now()
  while (quota(1) === 0) await sleep(1)
  t.ok(performance.now() - begun < 10_000)
})
