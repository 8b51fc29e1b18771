import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createShare } from '../../lib/drain-idle.js'

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
  const share = createShare(200)
  const begun = performance.now()
  let left = 1
  for (const part of [0.25, 0.5, 0.75]) {
    while (performance.now() - begun < part * 200) {
      left *= 1 - share()
      await sleep(Math.random() * 20)
    }
    const due = 1 - (performance.now() - begun) / 200
    t.ok(left >= due - 0.01 && left <= due + 0.15, `${left} are left where ${due} are due`)
  }
})
