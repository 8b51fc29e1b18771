import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { OfferAnswer } from '../../../lib/handover/offer.js'
import type { OpenListener } from '../../../lib/listeners/address.js'
import type { WorkerStart } from '../../../lib/master/spawn.js'
import { startTeam } from '../../../lib/team/team.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { listenToLog, type PlayedGeneration, playGeneration } from '../../helper/generation.ts'
import { stopTimers } from '../../helper/timers.ts'

const port = { key: 'tcp::3000', bound: '0.0.0.0:3000', fd: 5 }
const admin = { key: 'tcp::3001', bound: '0.0.0.0:3001', fd: 6 }
const handle = { close() {} } as never
const offer = { listener: port, idleTime: 7 }

interface Started {
  readonly worker: PlayedGeneration
  readonly start: WorkerStart
}

/** A team of played workers: `started` has them in their order, each numbered by it from 1 on. */
function setUp(
  workers: number,
  { listeners = [port] as readonly OpenListener[], isNumbered = false, isCandidate = false } = {}
) {
  const { log, lines } = listenToLog()
  const calls: string[] = []
  const started: Started[] = []
  const offered: string[] = []
  const ready: string[] = []
  const restarts: string[] = []
  const team = startTeam(
    {
      log,
      isNumbered,
      lanes: 1,
      settleTime: 0,
      start(start) {
        const number = started.length + 1
        const worker = playGeneration(number, { calls })
        Object.assign(worker, { listeners: () => [port] })
        started.push({ worker, start })
        return worker
      }
    },
    {
      number: 2,
      workers,
      isCandidate,
      listeners,
      succeeds: 'none',
      onUpgrade: () => Promise.reject(new Error('not asked for')),
      onJudge: () => Promise.reject(new Error('not asked for')),
      onInquire: () => Promise.reject(new Error('not asked for')),
      async onOffer({ idleTime }) {
        offered.push(`by the master: ${idleTime}`)
        return 'adopted'
      },
      onWorkerReady: (worker, pid) => ready.push(`${worker} ${pid}`),
      onRestart: reason => restarts.push(reason),
      onMoved: () => offered.push('moved')
    }
  )
  return { team, log, lines, calls, started, offered, ready, restarts, serve }

  /** All are ready and serve. */
  async function serve(): Promise<void> {
    for (let index = 0; index < workers; index++) {
      await until(() => started.length > index)
      started[index]!.worker.becomeReady()
    }
    await team.ready
    team.serve([])
    calls.length = 0
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

t.test('worker 0 starts alone, then the others; the team is ready when all are', async t => {
  const { team, started, ready, lines } = setUp(3)
  let isReady = false
  void team.ready.then(() => {
    isReady = true
  })
  await turn()
  t.equal(started.length, 1)
  t.match(started[0]!.start, { number: 2, place: { worker: 0, workers: 3 }, succeeds: 'none' })
  started[0]!.worker.becomeReady()
  await until(() => started.length === 2)
  t.match(started[1]!.start, { place: { worker: 1, workers: 3 }, succeeds: 'worker' })
  started[1]!.worker.becomeReady()
  await until(() => started.length === 3)
  await turn()
  t.notOk(isReady)
  started[2]!.worker.becomeReady()
  t.same(await team.ready, [])
  t.same(ready, ['0 101', '1 102', '2 103'])
  t.match(lines('worker ready')[1], { generation: 2, worker: 1, generationPid: 102 })
  t.match(team.processes(), [{ worker: 0, pid: 101 }, { pid: 102 }, { pid: 103 }])
})

t.test('as long as one is not ready none serves; then all do, and know of each other', async t => {
  const { team, calls, started } = setUp(2)
  started[0]!.worker.becomeReady()
  await until(() => started.length === 2)
  started[1]!.worker.becomeReady()
  await team.ready
  t.same(calls, [])
  team.serve([])
  t.same(calls, ['1 serve', '2 serve', '1 team 2 101', '2 team 2 101'])
  t.notOk(started[1]!.worker.isAlone)
  team.alone()
  t.ok(started[0]!.worker.isAlone && started[1]!.worker.isAlone)
})

t.test('one that fails is what the team fails for', async t => {
  const { team, started } = setUp(2)
  started[0]!.worker.becomeReady()
  await until(() => started.length === 2)
  started[1]!.worker.fail(
    new GracefulUpgradeError('GRACEFUL_UPGRADE_READY_TIMEOUT', 'worker 1 of generation 2')
  )
  await t.rejects(team.ready, /worker 1 of generation 2/)
  team.kill()
  t.match(await team.ended, { signal: 'SIGKILL' })
})

t.test('one that dies while others start is named', async t => {
  const { team, started } = setUp(2)
  started[0]!.worker.becomeReady()
  await until(() => started.length === 2)
  started[0]!.worker.end(3)
  await t.rejects(team.ready, {
    code: 'GRACEFUL_UPGRADE_EXITED',
    message: /worker 0 of generation 2 \(pid 101\) ended before the others were ready/
  })
})

t.test('what only a later listener of worker 0 made fail is tried once more', async t => {
  const { team, calls, started } = setUp(2)
  const listeners = [port]
  Object.assign(started[0]!.worker, { listeners: () => listeners })
  started[0]!.worker.becomeReady()
  await until(() => started.length === 2)
  t.same(started[1]!.start.listeners, [port])
  listeners.push(admin)
  started[1]!.worker.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'EADDRINUSE'))
  await until(() => started.length === 3)
  t.same(started[2]!.start.listeners, [port, admin])
  t.ok(calls.includes('2 kill') && calls.includes('2 release'), 'nothing of the first attempt is left')
  started[2]!.worker.becomeReady()
  t.same(await team.ready, [])
  team.serve([])
  started[0]!.worker.end(0)
  started[2]!.worker.end(0)
  t.same(await team.ended, { code: 0, signal: null }, 'nor its exit code')
})

t.test('dropped is what no worker has claimed', async t => {
  const { team, started } = setUp(2, { listeners: [port, admin] })
  started[0]!.worker.becomeReady([port.key, admin.key])
  await until(() => started.length === 2)
  started[1]!.worker.becomeReady([admin.key])
  t.same(await team.ready, [admin.key])
})

t.test('one of several that dies is replaced in its place, and its siblings serve on', async t => {
  const { team, lines, calls, started, serve } = setUp(2)
  await serve()
  started[1]!.worker.end(null, 'SIGSEGV')
  await until(() => started.length === 3)
  t.match(lines('worker died'), [{ generation: 2, worker: 1, generationPid: 102, signal: 'SIGSEGV' }])
  t.match(started[2]!.start, { place: { worker: 1, workers: 2 }, succeeds: 'worker', listeners: [port] })
  started[2]!.worker.becomeReady()
  await until(() => calls.includes('3 serve'))
  await turn()
  t.same(calls, ['1 team 2 101', '3 serve', '1 team 2 101', '3 team 2 101', '2 release'])
  t.ok(started[2]!.worker.isAlone)
  t.match(team.processes(), [
    { worker: 0, restarts: 0 },
    { worker: 1, restarts: 1 }
  ])
})

t.test('one that fails again and again is tried after growing pauses, and never given up', async t => {
  const { started, serve, lines } = setUp(2)
  await serve()
  const pass = stopTimers(t)
  started[1]!.worker.end(1)
  for (const pause of [0, 1_000, 2_000, 4_000, 8_000, 15_000, ...Array(10).fill(30_000)]) {
    const before = started.length
    if (pause > 0) {
      await pass(pause - 1)
      t.equal(started.length, before)
    }
    await pass(Math.min(pause, 1))
    t.equal(started.length, before + 1)
    started.at(-1)!.worker.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED'))
    await pass(0)
  }
  t.equal(lines('worker failed to start').length, 16)
  t.same(lines('given up'), [])
})

t.test('with the last one the generation dies', async t => {
  const { team, calls, started, serve } = setUp(2)
  await serve()
  started[0]!.worker.end(1)
  await until(() => started.length === 3)
  started[1]!.worker.end(null, 'SIGKILL')
  await team.dying
  t.match(await team.ended, { code: 1, signal: null })
  t.ok(calls.includes('3 kill'), 'and nobody is started in vain')
  t.match(team.listeners(), [port], 'what they listened on stays open')
  team.release()
  t.match(team.listeners(), [])
})

t.test('one that ends by itself is replaced; all that do are the end', async t => {
  const { team, lines, started, serve } = setUp(2)
  await serve()
  started[0]!.worker.end(0)
  await until(() => started.length === 3)
  t.match(lines('worker ended by itself'), [{ worker: 0 }])
  started[1]!.worker.end(0)
  t.same(await team.ended, { code: 0, signal: null })
})

t.test('all that do are the end as well while another one is about to follow', async t => {
  const { team, started, serve, calls } = setUp(2)
  await serve()
  let isDying = false
  void team.dying.then(() => (isDying = true))
  started[0]!.worker.end(0)
  await until(() => started.length === 3)
  Object.assign(started[2]!.worker, { kill: () => calls.push('3 kill') })
  started[1]!.worker.end(0)
  await until(() => calls.includes('3 kill'))
  await turn()
  t.notOk(isDying, 'nobody is to take its place')
  started[2]!.worker.end(null, 'SIGKILL')
  t.same(await team.ended, { code: 0, signal: null })
})

t.test('a single one that dies is the death of its generation', async t => {
  const { team, started, serve, lines } = setUp(1)
  t.equal(started[0]!.start.place, undefined, 'and it is not told which one it is')
  await serve()
  started[0]!.worker.die()
  await team.dying
  await turn()
  t.equal(started.length, 1)
  t.same(lines('worker died'), [])
  t.match(team.processes(), [{ pid: 101 }])
  started[0]!.worker.end(1)
  t.same(await team.ended, { code: 1, signal: null })
  t.match(team.processes(), [{ pid: 101 }], 'it has a name yet')
})

t.test('one that has an uncaught error drains into its siblings, while another one starts', async t => {
  const { calls, started, serve } = setUp(2)
  await serve()
  started[0]!.worker.die()
  await until(() => started.length === 3)
  t.equal(await started[0]!.start.onOffer(offer, handle), 'adopted')
  t.ok(calls.includes('2 adopt 7'))
  started[2]!.worker.becomeReady()
  await until(() => calls.includes('3 serve'))
  t.notOk(started[2]!.worker.isAlone)
  started[0]!.worker.drain()
  await turn()
  t.ok(started[2]!.worker.isAlone, 'only when it has stopped what only one may do')
  t.notOk(calls.includes('1 retire'), 'it ends by itself')
})

t.test('one that a signal asks to end makes way when its successor serves', async t => {
  const { calls, started, serve, lines } = setUp(2)
  await serve()
  started[1]!.worker.leave()
  await until(() => started.length === 3)
  t.same(calls.splice(0), ['1 team 2 101', '2 team 2 101'], 'it may have been the heir')
  started[2]!.worker.becomeReady()
  await until(() => calls.includes('2 retire'))
  t.same(calls.slice(0, 4), ['3 serve', '1 team 2 101', '3 team 2 101', '2 retire'])
  started[1]!.worker.end(0)
  await turn()
  t.match(lines('worker retired'), [{ generation: 2, worker: 1, generationPid: 102, code: 0 }])
})

t.test('only one at a time does so, and none during an upgrade', async t => {
  const { team, calls, started, serve } = setUp(2)
  await serve()
  team.upgrading(true)
  started[0]!.worker.leave()
  started[1]!.worker.leave()
  await turn()
  t.equal(started.length, 2)
  team.upgrading(false)
  await until(() => started.length === 3)
  started[2]!.worker.becomeReady()
  await until(() => calls.includes('1 retire'))
  await turn()
  t.equal(started.length, 3, 'the first one drains yet')
  started[0]!.worker.end(0)
  await until(() => started.length === 4)
  t.match(started[3]!.start.place, { worker: 1 })
})

t.test('one that is asked twice, or has been followed when its turn comes, makes way once', async t => {
  const { calls, started, serve } = setUp(2)
  await serve()
  started[0]!.worker.leave()
  started[1]!.worker.leave()
  await until(() => started.length === 3)
  started[1]!.worker.end(null, 'SIGKILL')
  await until(() => started.length === 4)
  started[2]!.worker.becomeReady()
  started[3]!.worker.becomeReady()
  await until(() => calls.includes('1 retire') && calls.includes('4 serve'))
  started[0]!.worker.end(0)
  for (let turns = 0; turns < 5; turns++) await turn()
  t.equal(started.length, 4, 'its successor stays')
})

t.test('whoever counts is told once of each that is followed, and why', async t => {
  const { started, serve, restarts, offered } = setUp(2)
  await serve()
  started[0]!.worker.leave()
  await until(() => started.length === 3)
  started[0]!.worker.end(null, 'SIGKILL') // its successor has begun
  started[2]!.worker.becomeReady()
  await turn()
  t.same(restarts.splice(0), ['signal'])
  t.equal(await started[1]!.start.onOffer(offer, handle), 'adopted')
  t.same(offered, ['moved'])
  started[1]!.worker.end(0)
  await until(() => started.length === 4)
  started[3]!.worker.becomeReady()
  await turn()
  started[2]!.worker.die()
  await until(() => started.length === 5)
  t.same(restarts, ['ended', 'died'])
})

t.test('who is about to go is not the heir of the master', async t => {
  const { calls, started, serve } = setUp(3)
  await serve()
  started[0]!.worker.leave()
  await until(() => calls.length === 3)
  t.same(calls, ['1 team 3 102', '2 team 3 102', '3 team 3 102'])
})

t.test('a successor that ends while it waits for the ticket keys does not take over', async t => {
  const { calls, started, serve, lines } = setUp(2)
  await serve()
  started[1]!.worker.leave()
  await until(() => started.length === 3)
  Object.assign(started[0]!.worker, { ticketKeys: () => new Promise(() => {}) })
  started[2]!.worker.becomeReady()
  await turn()
  started[2]!.worker.end(null, 'SIGKILL')
  await until(() => started.length === 4)
  t.notOk(calls.includes('3 serve') || calls.includes('2 retire'))
  t.match(lines('worker failed to start'), [{ worker: 1, err: { code: 'GRACEFUL_UPGRADE_EXITED' } }])
})

t.test('a successor that fails leaves the old one serving, until another attempt works', async t => {
  const { calls, started, serve } = setUp(2)
  await serve()
  started[1]!.worker.leave()
  await until(() => started.length === 3)
  started[2]!.worker.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED'))
  await until(() => started.length === 4)
  t.notOk(calls.includes('2 retire'))
  started[3]!.worker.becomeReady()
  await until(() => calls.includes('2 retire'))
})

t.test('a connection goes to each sibling in turn, and to the next one where nobody is there', async t => {
  const { team, calls, started, serve } = setUp(3)
  await serve()
  for (let index = 0; index < 6; index++) await team.adopt(offer, handle)
  t.same(
    calls.splice(0).sort(),
    [1, 1, 2, 2, 3, 3].map(number => `${number} adopt 7`)
  )
  const answers: OfferAnswer[] = ['unavailable', 'refused']
  for (const { worker } of started) Object.assign(worker, { adopt: async () => answers.shift() ?? 'adopted' })
  t.equal(await team.adopt(offer, handle), 'refused')
  t.same(answers, [])
  const giver = started[0]!
  Object.assign(giver.worker, { adopt: () => t.fail('it gets back what it gives away') })
  for (let index = 0; index < 6; index++) t.equal(await giver.start.onOffer(offer, handle), 'adopted')
})

t.test('a connection of a listener that not all have goes to one that has it', async t => {
  const { team, started, serve } = setUp(2)
  await serve()
  Object.assign(started[1]!.worker, { listeners: () => [port, admin] })
  const taken: number[] = []
  for (const { worker } of started) {
    Object.assign(worker, {
      async adopt() {
        taken.push(worker.number)
        return 'adopted'
      }
    })
  }
  for (let index = 0; index < 4; index++) await team.adopt({ listener: admin, idleTime: 1 }, handle)
  t.same(taken, [2, 2, 2, 2])
})

t.test('when the team makes way its connections go where the master says', async t => {
  const { team, offered, started, serve, calls } = setUp(2)
  await serve()
  const retired = team.retire()
  t.same(calls, ['1 retire', '2 retire'])
  t.equal(await started[0]!.start.onOffer(offer, handle), 'adopted')
  t.same(offered, ['by the master: 7'])
  started[0]!.worker.report = {
    refused: 1,
    longestPause: 5,
    kinds: { http1: { moved: 2, finished: 0, told: 0, cut: 0 } }
  }
  started[1]!.worker.report = {
    refused: 0,
    longestPause: 9,
    kinds: { http1: { moved: 3, finished: 1, told: 0, cut: 0 } }
  }
  started[0]!.worker.end(0)
  started[1]!.worker.end(1)
  t.same(await retired, {
    code: 1,
    signal: null,
    report: { refused: 1, longestPause: 9, kinds: { http1: { moved: 5, finished: 1, told: 0, cut: 0 } } }
  })
  t.equal(started.length, 2, 'and none is replaced')
})

t.test('all are told to close at once', async t => {
  const { team, started, serve, calls } = setUp(3)
  await serve()
  const closed = team.close('SIGTERM')
  t.same(calls, ['1 close SIGTERM', '2 close SIGTERM', '3 close SIGTERM'])
  for (const { worker } of started) worker.end(0)
  t.same(await closed, { code: 0, signal: null })
  t.same(await team.ended, { code: 0, signal: null })
})

t.test('what starts when the team goes is ended', async t => {
  const { team, started, serve, calls } = setUp(2)
  await serve()
  started[1]!.worker.end(1)
  await until(() => started.length === 3)
  void team.retire()
  await turn()
  t.ok(calls.includes('3 kill'))
})

t.test('a team that closes while one is followed ends as those that served do', async t => {
  const { team, started, serve, calls, lines } = setUp(2)
  await serve()
  started[1]!.worker.leave()
  await until(() => started.length === 3)
  const closed = team.close('SIGTERM')
  t.ok(calls.includes('3 kill'))
  started[0]!.worker.end(0)
  started[1]!.worker.end(0)
  t.same(await closed, { code: 0, signal: null })
  t.same(lines('worker failed to start'), [], 'that was meant')
})

t.test('more workers, one by one', async t => {
  const { team, started, serve, calls } = setUp(1)
  await serve()
  const reached: number[] = []
  const scaled = team.scale!(3, workers => reached.push(workers))
  await until(() => started.length === 2)
  t.match(started[1]!.start, { place: { worker: 1, workers: 3 }, succeeds: 'worker', listeners: [port] })
  t.same(calls, [])
  started[1]!.worker.becomeReady()
  await until(() => started.length === 3)
  t.same(calls, ['2 serve', '1 team 2 101', '2 team 2 101'])
  t.ok(started[1]!.worker.isAlone)
  started[2]!.worker.becomeReady()
  t.equal(await scaled, 3)
  t.same(reached, [2, 3])
})

t.test('one more that fails leaves things as they were', async t => {
  const { team, started, serve, calls } = setUp(2)
  await serve()
  const scaled = team.scale!(4, () => {})
  await until(() => started.length === 3)
  started[2]!.worker.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'on purpose'))
  await t.rejects(scaled, /on purpose/)
  t.same(calls, ['3 kill', '3 release'])
  t.equal(started.length, 3)
  t.match(team.processes(), [{ worker: 0 }, { worker: 1 }])
})

t.test('one more that ends between its start and its service does the others no harm', async t => {
  const { team, started, serve, calls } = setUp(2)
  await serve()
  let isDying = false
  void team.dying.then(() => (isDying = true))
  let tell = () => {}
  Object.assign(started[0]!.worker, {
    ticketKeys: () => new Promise<null>(resolve => (tell = () => resolve(null)))
  })
  const scaled = team.scale!(3, () => {})
  await until(() => started.length === 3)
  started[2]!.worker.becomeReady()
  await turn()
  started[2]!.worker.end(null, 'SIGKILL')
  await turn()
  tell()
  await t.rejects(scaled, /worker 2 of generation 2 ended before it served/)
  t.notOk(isDying)
  t.match(team.processes(), [{ pid: 101 }, { pid: 102 }])
  t.ok(calls.includes('3 release'))
})

t.test('fewer workers: those that are too many drain into the others', async t => {
  const { team, started, serve, calls, lines } = setUp(3)
  await serve()
  t.equal(await team.scale!(1, () => {}), 1)
  t.same(
    calls.filter(call => call.endsWith('retire')),
    ['3 retire', '2 retire']
  )
  t.equal(await started[2]!.start.onOffer(offer, handle), 'adopted')
  t.ok(calls.includes('1 adopt 7'))
  started[2]!.worker.end(0)
  await until(() => lines('worker retired').length === 1)
  t.match(team.processes(), [{ worker: 0 }, { worker: 1 }], 'one drains yet')
  const closed = team.close(null)
  t.ok(calls.includes('2 close null'))
  for (const { worker } of started) worker.end(0)
  t.same(await closed, { code: 0, signal: null })
})

t.test('a worker whose start is refused by the system fails the team', async t => {
  const { log } = listenToLog()
  const broken = createDeferred()
  const start = { number: 2, workers: 1, listeners: [], succeeds: 'none' } as unknown as WorkerStart
  await t.rejects(
    startTeam(
      {
        log,
        isNumbered: false,
        start() {
          broken.resolve()
          throw new Error('E2BIG')
        }
      },
      start
    ).ready,
    { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: /E2BIG/ }
  )
  await broken.promise
})

const candidateTerms = { time: 60_000, share: 0.1, errorRate: false } as const

/** A team of which worker 0 serves beside another generation. */
async function probed(workers: number) {
  const set = setUp(workers, { isCandidate: true })
  const { team, started } = set
  started[0]!.worker.probation = candidateTerms
  started[0]!.worker.becomeReady()
  await team.ready
  team.probe([])
  return set
}

t.test('a candidate is ready with worker 0; the others start when it is to be complete', async t => {
  const { team, started, calls } = await probed(2)
  t.equal(team.probation, candidateTerms)
  t.same(calls, ['1 probe'])
  t.equal(started.length, 1)
  const completed = team.complete()
  await until(() => started.length === 2)
  started[0]!.worker.answered = { responses: 5, errors: 1 }
  t.same(await team.tally(), { responses: 5, errors: 1 })
  t.equal(await team.adopt(offer, handle), 'adopted')
  started[1]!.worker.becomeReady()
  await completed
  t.equal(await team.adopt(offer, handle), 'adopted')
  t.same(calls, ['1 probe', '1 adopt 7', '1 adopt 7'], 'the others take nothing before they serve')
  team.serve([])
  t.same(calls.slice(3), ['1 serve', '2 serve', '1 team 2 101', '2 team 2 101'])
})

t.test('where it is to serve before it is complete the others start anew', async t => {
  const { team, started, calls } = await probed(3)
  const completed = team.complete()
  await until(() => started.length === 2)
  started[1]!.worker.becomeReady()
  await until(() => started.length === 3)
  team.serve([])
  t.ok(calls.includes('2 serve'))
  t.notOk(calls.includes('3 serve'), 'it is not ready yet')
  t.ok(calls.includes('3 kill'))
  started[2]!.worker.end(null, 'SIGKILL')
  await t.rejects(completed)
  const scaled = team.scale!(3, () => {})
  await until(() => started.length === 4)
  t.match(started[3]!.start.place, { worker: 2, workers: 3 })
  started[3]!.worker.becomeReady()
  t.equal(await scaled, 3)
  t.equal(team.processes().filter(({ state }) => state === 'serving').length, 3)
  team.kill()
})

t.test('the others inherit what worker 0 has: the sockets before that may be closed by then', async t => {
  const { team, started } = await probed(2)
  Object.assign(started[0]!.worker, { listeners: () => [{ ...port, fd: 9 }] })
  void team.complete().catch(() => {})
  await until(() => started.length === 2)
  t.match(started[1]!.start.listeners, [{ key: port.key, fd: 9 }])
  team.kill()
})

t.test('one that wants no probation is ready when all are', async t => {
  const { team, started } = setUp(2, { isCandidate: true })
  started[0]!.worker.becomeReady()
  await until(() => started.length === 2)
  started[1]!.worker.becomeReady()
  t.same(await team.ready, [])
})

t.test(
  'on probation the end of worker 0, or a signal to it, is that of the team; that of another one keeps it from being complete',
  async t => {
    const ended = await probed(2)
    ended.started[0]!.worker.end(7)
    t.same(await ended.team.ended, { code: 7, signal: null })
    t.match(await ended.team.retire(), { code: 7, signal: null })
    const dying = await probed(2)
    dying.started[0]!.worker.die()
    await dying.team.dying
    const asked = await probed(2)
    asked.started[0]!.worker.leave()
    await asked.team.leaving
    t.equal(asked.started.length, 1, 'nobody follows')
    const broken = await probed(3)
    const completed = broken.team.complete()
    await until(() => broken.started.length === 2)
    broken.started[1]!.worker.becomeReady()
    await until(() => broken.started.length === 3)
    broken.started[1]!.worker.end(1)
    await t.rejects(completed, /worker 1 of generation 2/)
  }
)

t.test('what it has goes back by way of the master while it is on probation, and a share always', async t => {
  const candidate = await probed(2)
  await candidate.started[0]!.start.onOffer(offer, handle)
  t.same(candidate.offered, ['by the master: 7'])
  const { team, started, serve, calls, offered } = setUp(2)
  await serve()
  team.beside(0.2)
  t.same(calls, ['1 beside 0.2', '2 beside 0.2'])
  await started[0]!.start.onOffer({ ...offer, isShare: true }, handle)
  t.same(offered, ['by the master: 7'])
  await started[0]!.start.onOffer(offer, handle)
  t.equal(calls.at(-1), '2 adopt 7', 'else a sibling takes it')
})

t.test('a successor gives as its siblings do; those that answer are counted', async t => {
  const { team, started, serve, calls } = setUp(2)
  await serve()
  team.beside(0.2)
  started[0]!.worker.end(null, 'SIGKILL')
  await until(() => started.length === 3)
  started[2]!.worker.becomeReady()
  await until(() => calls.includes('3 serve'))
  t.equal(calls[calls.indexOf('3 serve') + 1], '3 beside 0.2')
  started[1]!.worker.answered = null
  started[2]!.worker.answered = { responses: 8, errors: 2 }
  t.match(await team.tally(), { responses: 8, errors: 2 })
  started[2]!.worker.answered = null
  t.equal(await team.tally(), null)
})
