import t from 'tap'
import { createMeter } from '../../../lib/master/meter.js'
import type { Usage } from '../../../lib/protocol/usage.js'
import { createDeferred } from '../../../lib/time/deferred.js'

t.test('a load is what was used between two looks', async t => {
  const usages: (Usage | null)[] = [
    { active: 100, idle: 300, cpu: 120, uptime: 480, rss: 1 },
    { active: 600, idle: 800, cpu: 720, uptime: 1_480, rss: 2 },
    null,
    { active: 600, idle: 800, cpu: 720, uptime: 1_480, rss: 3 }
  ]
  let time = 0
  const look = createMeter(
    async () => usages.shift() ?? null,
    () => time
  )
  t.same(await look(), { elu: 0.25, cpu: 0.25, rss: 1 })
  time += 199
  t.same(await look(), { elu: 0.25, cpu: 0.25, rss: 1 }, 'so soon it is the same')
  time += 1
  t.same(await look(), { elu: 0.5, cpu: 0.6, rss: 2 })
  time += 500
  t.equal(await look(), null)
  t.same(await look(), { elu: 0, cpu: 0, rss: 3 })
})

t.test('who looks before there is an answer gets the same', async t => {
  const answers = [createDeferred<Usage | null>(), createDeferred<Usage | null>()]
  let asked = 0
  const look = createMeter(
    () => answers[asked++]!.promise,
    () => 0
  )
  const looks = [look(), look()]
  t.equal(asked, 1)
  answers[0]!.resolve(null)
  t.same(await Promise.all(looks), [null, null])
  void look()
  t.equal(asked, 2)
})
