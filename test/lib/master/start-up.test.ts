import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { Ending } from '../../../lib/master/generation.js'
import type { WorkerProcess } from '../../../lib/master/spawn.js'
import { watchStartUp } from '../../../lib/master/start-up.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { stopTimers } from '../../helper/timers.ts'

const pass = stopTimers(t)

/** A start of a worker that has said `says` when all is heard. */
function setUp() {
  const ended = createDeferred<Ending>()
  const heard = createDeferred()
  const worker = {
    pid: 7,
    failed: new Promise(() => {}),
    ended: ended.promise,
    lastWords: { text: () => 'says', heard: () => heard.promise }
  } as unknown as WorkerProcess
  const startUp = watchStartUp(worker, { name: 'generation 2', readyTimeout: 1_000, hasListened: () => true })
  return { startUp, ended, heard }
}

t.test('what comes first decides', async t => {
  const { startUp, ended, heard } = setUp()
  startUp.succeed(['tcp::1'])
  startUp.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED'))
  await pass(1_000)
  ended.resolve({ code: 1, signal: null })
  heard.resolve()
  t.same(await startUp.ready, ['tcp::1'])
})

t.test('one that has ended is not too late, however long its last words take', async t => {
  const { startUp, ended, heard } = setUp()
  await pass(999)
  ended.resolve({ code: 1, signal: null })
  await pass(1_000)
  heard.resolve()
  await t.rejects(startUp.ready, { code: 'GRACEFUL_UPGRADE_EXITED', lastWords: 'says' })
})

t.test('one that is late because of its check says what that came to last', async t => {
  const { startUp } = setUp()
  startUp.unchecked({ request: 'GET /', outcome: 'failed: closed', body: '' })
  startUp.unchecked({ request: 'GET /health', outcome: 'answered 503', body: 'no database\nsince noon' })
  await pass(1_000)
  await t.rejects(startUp.ready, {
    code: 'GRACEFUL_UPGRADE_CHECK_FAILED',
    message:
      'the new process does not pass its check: generation 2 (pid 7) was given readyTimeout (1000 ms), ' +
      'and GET /health answered 503: no database\nsince noon',
    lastWords: 'says'
  })
})

t.test('a check that has failed at first is no failure', async t => {
  const { startUp } = setUp()
  startUp.unchecked({ request: 'GET /', outcome: 'answered 503', body: '' })
  startUp.succeed([])
  await pass(1_000)
  t.same(await startUp.ready, [])
})

t.test('a failed start that nobody waits for is no error of the process', async t => {
  const { startUp } = setUp()
  await pass(1_000)
  startUp.succeed([])
  await t.rejects(startUp.ready, { code: 'GRACEFUL_UPGRADE_READY_TIMEOUT', message: /\(1000 ms\)$/ })
})
