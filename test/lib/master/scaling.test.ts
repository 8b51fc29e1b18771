import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { createScaling, type TeamOptions } from '../../../lib/master/scaling.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { listenToLog, playGeneration } from '../../helper/generation.ts'

const code = (name: string) => ({ name: 'GracefulUpgradeError', code: `GRACEFUL_UPGRADE_${name}` })

/** Of a generation that comes to so many workers, one after the other, and waits then for the test. */
function setUp({ team = { workers: 2 } as TeamOptions | undefined, reached = [3, 4] } = {}) {
  const generation = playGeneration(1)
  const gate = createDeferred<number>()
  let begun = 0
  generation.scale = async (_workers, onProgress) => {
    begun++
    for (const workers of reached) onProgress(workers)
    return gate.promise
  }
  const { log, lines } = listenToLog()
  const scaling = createScaling({ log, team, serving: () => generation })
  return { scaling, generation, gate, lines, begun: () => begun }
}

t.test('a change is told from what there was to what has been reached', async t => {
  const { scaling, gate, lines } = setUp()
  t.equal(scaling.workers, 2)
  const told: number[] = []
  const scaled = scaling.scale(4, workers => told.push(workers))
  t.equal(scaling.workers, 4, 'so many are wanted from then on')
  gate.resolve(4)
  t.equal(await scaled, 4)
  t.same(told, [2, 3, 4])
  t.match(lines('scaled'), [{ generation: 1, generationPid: 101, workers: 4, ms: Number }])
})

t.test('what a change that fails has come to is what is wanted', async t => {
  const { scaling, gate, lines } = setUp({ reached: [3] })
  const scaled = scaling.scale(4)
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED')
  gate.reject(error)
  t.equal(await scaled.catch(reason => reason), error)
  t.equal(scaling.workers, 3)
  t.match(lines('scaling failed'), [{ err: error, workers: 3 }])

  const none = setUp({ reached: [] })
  none.gate.reject(error)
  await t.rejects(none.scaling.scale(4))
  t.equal(none.scaling.workers, 2)
})

t.test('there is one change at a time, and another one after it', async t => {
  const { scaling, gate, lines, begun } = setUp()
  const scaled = scaling.scale(4)
  await t.rejects(scaling.scale(5), code('IN_PROGRESS'))
  t.match(lines('scaling refused'), [{ err: code('IN_PROGRESS'), workers: 5 }])
  gate.resolve(4)
  await scaled
  await scaling.scale(5)
  t.equal(begun(), 2)
})

t.test('a number that there can not be is refused', async t => {
  const { scaling, begun } = setUp()
  for (const workers of [0, -1, 1.5, 1_025, Number.NaN])
    await t.rejects(scaling.scale(workers), { ...code('USAGE'), message: /from 1 to 1024 workers, not/ })
  t.equal(begun(), 0)
  t.equal(scaling.workers, 2)
})

t.test('where there can be one worker only it is said how to start instead', async t => {
  const how = {
    ...code('UNSUPPORTED'),
    message: /start the server by graceful-upgrade --workers 4 server.js/
  }
  const alone = setUp()
  const standalone = createScaling({
    log: listenToLog().log,
    team: undefined,
    serving() {
      throw new Error('nobody is asked')
    }
  })
  t.equal(standalone.workers, 1)
  await t.rejects(standalone.scale(2), how)
  delete alone.generation.scale
  await t.rejects(alone.scaling.scale(2), how)
})
