import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { createReplacement } from '../../../lib/master/replacement.js'
import { createRespawn } from '../../../lib/master/respawn.js'
import type { UpgradeResult } from '../../../lib/protocol/upgrade-result.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { listenToLog, playGeneration } from '../../helper/generation.ts'

const failure = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED')

/** A dead generation, whose pauses and successors the test plays. */
function setUp() {
  const calls: string[] = []
  const { log, lines } = listenToLog()
  const boots: { ready(): void; fail(): void }[] = []
  let endPause = () => {}
  const replacement = createReplacement(playGeneration(1, { calls }), {
    log,
    respawn: createRespawn(),
    boot() {
      const number = boots.length + 2
      const { promise, resolve, reject } = createDeferred<UpgradeResult>()
      const ready = () => resolve({ generation: number, pid: 100 + number, ms: 5 })
      boots.push({ ready, fail: () => reject(failure) })
      calls.push(`boot ${number}`)
      return {
        next: playGeneration(number, { calls }),
        result: promise,
        giveUp: () => calls.push(`${number} given up`)
      }
    },
    onReady: ({ number }) => calls.push(`${number} ready`),
    onGiveUp: () => calls.push('end'),
    pause(ms, signal) {
      calls.push(`pause ${ms}`)
      return new Promise<void>(resolve => {
        endPause = resolve
        signal.addEventListener('abort', () => resolve())
      })
    }
  })
  replacement.begin()
  return { replacement, calls, lines, boots, pass }

  async function pass() {
    endPause()
    await turn()
  }
}

t.test('what the dead one holds is given back when another one has taken over, and not before', async t => {
  const { calls, boots, pass } = setUp()
  t.same(calls, ['pause 0'])
  await pass()
  t.same(calls, ['pause 0', 'boot 2'])
  boots[0]!.ready()
  await turn()
  t.same(calls.slice(2), ['2 ready', '1 release'])
})

t.test('an attempt that fails is followed by another one after a longer pause', async t => {
  const { calls, boots, pass } = setUp()
  await pass()
  boots[0]!.fail()
  await turn()
  t.same(calls.slice(2), ['pause 1000'])
  await pass()
  boots[1]!.ready()
  await turn()
  t.same(calls.slice(3), ['boot 3', '3 ready', '1 release'])
})

t.test('a pause can be skipped, by several, who are told how the attempt goes', async t => {
  const { replacement, boots, pass } = setUp()
  const skipped = [replacement.skipPause(), replacement.skipPause()]
  await turn()
  t.equal(boots.length, 1)
  t.equal(replacement.skipPause(), undefined, 'an attempt is no pause')
  boots[0]!.fail()
  for (const attempt of skipped) await t.rejects(attempt!, failure)
  const again = replacement.skipPause()
  await pass()
  boots[1]!.ready()
  t.match(await again, { generation: 3 })
  t.equal(replacement.skipPause(), undefined, 'nor is what follows on it')
})

t.test('when the attempts are used up that is said once, and nothing follows', async t => {
  const { replacement, calls, lines, boots, pass } = setUp()
  for (let attempt = 0; attempt < 12; attempt++) {
    await pass()
    t.same(lines('given up'), [])
    boots[attempt]!.fail()
    await turn()
  }
  t.match(lines('given up'), [{ err: { code: 'GRACEFUL_UPGRADE_GAVE_UP', message: /12 attempts in a row/ } }])
  t.equal(calls.at(-1), 'end')
  t.equal(replacement.skipPause(), undefined)
  await pass()
  t.equal(boots.length, 12)
})

t.test('stop() in a pause ends it, and whoever has skipped that hears of it', async t => {
  const { replacement, boots } = setUp()
  const skipped = replacement.skipPause()
  replacement.stop()
  await t.rejects(skipped!, { code: 'GRACEFUL_UPGRADE_CLOSING' })
  t.equal(boots.length, 0)
})

t.test('stop() in an attempt gives that up, and its failure is followed by no other', async t => {
  const { replacement, calls, boots, pass } = setUp()
  await pass()
  replacement.stop()
  t.equal(calls.at(-1), '2 given up')
  boots[0]!.fail()
  await turn()
  t.equal(calls.at(-1), '2 given up')
  t.notOk(calls.includes('1 release'), 'that is the business of who has stopped it')
})
