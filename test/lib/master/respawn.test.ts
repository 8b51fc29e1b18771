import t from 'tap'
import { createRespawn } from '../../../lib/master/respawn.js'

t.test('the pauses grow up to half a minute, and after twelve attempts there are none', async t => {
  const respawn = createRespawn()
  const pauses = Array.from({ length: 12 }, respawn.nextPause)
  t.same(pauses.slice(0, 7), [0, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000])
  t.same(new Set(pauses.slice(7)), new Set([30_000]))
  t.equal(respawn.attempts, 12)
  t.equal(respawn.nextPause(), undefined)
  t.equal(respawn.attempts, 12)
})

t.test('ten seconds of service end the row of attempts, and less does not', async t => {
  const respawn = createRespawn()
  respawn.nextPause()
  respawn.served(9_999)
  t.equal(respawn.nextPause(), 1_000)
  respawn.served(10_000)
  t.equal(respawn.nextPause(), 0)
})
