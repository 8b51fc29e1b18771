import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createShare } from '../../../lib/drain/share.js'

t.test('without a time each sweep ends all', async t => {
  const share = createShare(false)
  t.equal(share(), 1)
  t.equal(share(), 1)
})

t.test('over a time each sweep ends its share of what is left, and the last one all of it', async t => {
  const share = createShare(60_000)
  await sleep(100)
  const first = share()
  t.ok(first > 0.001 && first < 0.5, `the first one of a minute ends ${first}`)
  const last = createShare(10)
  await sleep(20)
  t.equal(last(), 1)
})

t.test('sweeps at whatever times end the same number in each part of the time', async t => {
  let time = 1_000
  t.intercept(performance, 'now', { value: () => time })
  const share = createShare(200)
  let left = 1
  for (const elapsed of [1, 3, 7, 15, 16, 60, 61, 150, 199.5]) {
    time = 1_000 + elapsed
    left *= 1 - share()
    const due = 1 - elapsed / 200
    t.ok(Math.abs(left - due) < 1e-9, `${left} are left where ${due} are due`)
  }
})
