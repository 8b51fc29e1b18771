import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { ConnectionOffer } from '../../../lib/handover/offer.js'
import type { RawHandle } from '../../../lib/internals/raw-handle.js'
import { createMaster } from '../../../lib/master/master.js'
import type { GenerationStart } from '../../../lib/master/spawn.js'
import { listenToLog, type PlayedGeneration, playGeneration } from '../../helper/generation.ts'

const terms = { time: 60_000, share: 0.1, errorRate: false } as const

const code = (name: string) => ({ code: `GRACEFUL_UPGRADE_${name}` })

const handle = { fd: 9 } as RawHandle

/** A master whose generations want a probation of a minute. */
function setUp({
  time = terms.time as number,
  currentKnows = true,
  workers = undefined as number | undefined
} = {}) {
  const calls: string[] = []
  const starts: GenerationStart[] = []
  const generations: PlayedGeneration[] = []
  const { log, lines } = listenToLog()
  const first = Object.assign(playGeneration(1, { calls }), currentKnows && { probation: terms })
  const master = createMaster({
    first,
    log,
    start(next) {
      starts.push(next)
      const generation = Object.assign(playGeneration(next.number, { calls }), {
        probation: { ...terms, time },
        async scale(wanted: number) {
          calls.push(`${next.number} scale ${wanted}`)
          return wanted
        }
      })
      generations.push(generation)
      return generation
    },
    placeOf: () => '/srv/release',
    team: workers === undefined ? undefined : { workers, balanced: { moved: 0, closed: 0 } },
    onEnd: code => calls.push(`onEnd ${code}`)
  })
  return { master, first, calls, starts, generations, lines, probe }

  /** An upgrade that has come to its probation. */
  async function probe() {
    const upgrade = master.upgrade()
    upgrade.catch(() => {})
    const next = generations.at(-1)!
    next.becomeReady()
    await turn()
    await turn()
    return { upgrade, next }
  }
}

function offer(idleTime: number): ConnectionOffer {
  return { listener: { key: 'tcp::1', bound: '0.0.0.0:1' }, idleTime }
}

t.test(
  'the next generation serves beside the one that serves, which gives a share and stays as it is',
  async t => {
    const { master, calls, starts, lines, probe } = setUp()
    await probe()
    t.match(starts, [{ isCandidate: true }])
    t.same(calls, ['1 upgrading true', '2 probe', '1 beside 0.1'])
    t.equal(master.state, 'probation')
    t.match(master.generations(), [{ state: 'serving' }, { state: 'probation' }])
    t.match(master.probation(), { generation: 2, candidate: { responses: 0, errors: 0 } })
    t.match(lines('generation on probation'), [
      { generation: 2, ms: 60_000, share: 0.1, release: '/srv/release' }
    ])
  }
)

t.test('nothing else begins meanwhile', async t => {
  const { master, probe } = setUp({ workers: 2 })
  await t.rejects(master.judge('confirm', 'too early'), code('NO_PROBATION'))
  await probe()
  await t.rejects(master.upgrade(), code('ON_PROBATION'))
  await t.rejects(master.scale(3), code('ON_PROBATION'))
})

t.test(
  'connections go from the one that serves to the one on probation, and from that only back',
  async t => {
    const { master, first, calls, probe } = setUp()
    const { next } = await probe()
    t.equal(await master.relay(first, offer(1), handle), 'adopted')
    t.equal(await master.relay(next, offer(2), handle), 'adopted')
    t.same(calls.slice(-2), ['2 adopt 1', '1 adopt 2'])
  }
)

t.test('one that is confirmed takes over when it is complete, and the old one drains at once', async t => {
  const { master, first, calls, lines, probe } = setUp()
  const { upgrade, next } = await probe()
  let isReady = false
  master.events.once('ready', () => (isReady = true))
  const confirmed = master.judge('confirm', 'somebody says so')
  await turn()
  t.equal(calls.at(-1), '2 complete')
  t.notOk(isReady, 'nobody is told yet')
  next.completed.resolve()
  await confirmed
  t.match(await upgrade, { generation: 2 })
  t.ok(isReady)
  t.same(calls.slice(-3), ['1 beside null', '2 serve', '1 retire urgently'])
  t.match(lines('generation confirmed'), [{ generation: 2, reason: 'somebody says so', ms: Number }])
  t.equal(master.serving(), next)
  t.equal(await master.relay(first, offer(3), handle), 'adopted', 'what is left of the old one follows')
  t.equal(calls.at(-1), '2 adopt 3')
})

t.test('one that is rolled back drains into the one that has served all the time', async t => {
  const { master, first, calls, lines, probe } = setUp()
  const failed = once(master.events, 'failed')
  const { upgrade, next } = await probe()
  await master.judge('rollback', 'somebody says so')
  const error = await upgrade.catch(error => error)
  t.match(error, { ...code('ROLLED_BACK'), message: /generation 2 \(\/srv\/release\): somebody says so/ })
  t.equal((await failed)[1], error)
  t.same(calls.slice(-3), ['1 beside null', '2 retire urgently', '1 upgrading false'])
  t.equal(master.state, 'serving')
  t.equal(master.serving(), first)
  t.equal(await master.relay(next, offer(1), handle), 'adopted')
  t.equal(await master.relay(first, offer(2), handle), 'unavailable', 'it gives nothing any more')
  t.match(lines('generation rolled back'), [
    { generation: 2, candidate: { responses: 0 }, current: { responses: 0 } }
  ])
  next.end(0)
  await turn()
  t.ok(calls.includes('2 release'))
})

t.test('one that has died is rolled back, and does not count as a death of the service', async t => {
  const { master, calls, starts, probe } = setUp()
  for (let count = 0; count < 15; count++) {
    const { upgrade, next } = await probe()
    next.end(null, 'SIGSEGV')
    await t.rejects(upgrade, { ...code('ROLLED_BACK'), message: /it has ended by SIGSEGV/ })
  }
  await turn()
  t.equal(master.state, 'serving')
  t.equal(starts.length, 15)
  t.notOk(calls.some(call => call.startsWith('onEnd')))
})

t.test('an error that it answers is looked at at once', async t => {
  const { first, starts, probe } = setUp()
  const { upgrade, next } = await probe()
  next.answered = { responses: 30, errors: 3 }
  first.answered = { responses: 270, errors: 0 }
  starts[0]!.onErred!()
  await t.rejects(upgrade, { message: /3 of its 30 responses were 5xx, and 0 of 270 by generation 1/ })
})

t.test(
  'when the one that serves dies, the other one serves at once, and its missing workers are started',
  async t => {
    const { master, first, calls, probe } = setUp({ workers: 3 })
    const { upgrade, next } = await probe()
    first.end(null, 'SIGKILL')
    t.match(await upgrade, { generation: 2 })
    t.equal(master.serving(), next)
    t.notOk(calls.includes('2 complete'))
    t.same(calls.slice(-2), ['2 scale 3', '1 release'])
  }
)

t.test('when both fail, the release is started anew that has served', async t => {
  const { first, starts, generations, probe } = setUp()
  const { upgrade, next } = await probe()
  next.answered = null
  first.end(null, 'SIGKILL')
  await turn()
  next.end(1)
  await t.rejects(upgrade, code('ROLLED_BACK'))
  while (generations.length < 2) await turn()
  t.match(starts[1], { number: 3, release: first, isCandidate: false })
})

t.test('close() and abandon() let both drain', async t => {
  const closing = setUp()
  const { upgrade, next } = await closing.probe()
  const closed = closing.master.close('SIGTERM')
  await t.rejects(upgrade, code('CLOSING'))
  t.same(closing.calls.filter(call => call.includes('close') || call.includes('kill')).sort(), [
    '1 close SIGTERM',
    '2 close SIGTERM'
  ])
  next.end(1)
  closing.first.end(0)
  t.equal(await closed, 0, 'the one that has served is the one that counts')

  const left = setUp()
  const trial = await left.probe()
  left.master.abandon()
  await t.rejects(trial.upgrade, code('CLOSING'))
  t.ok(left.calls.includes('2 close null'))
})

t.test('one that wants none, or one of two that knows none, takes over at once', async t => {
  const without = setUp({ time: 0 })
  await (await without.probe()).upgrade
  t.same(without.calls, ['1 upgrading true', '2 serve', '1 retire'])
  const older = setUp({ currentKnows: false })
  await (await older.probe()).upgrade
  t.match(older.starts, [{ isCandidate: false }])
  t.equal(
    older.lines('no probation: the generation that serves has a version of this package that knows none')
      .length,
    1
  )
})

t.test('a release that was rolled back may be asked for again, and the log says so', async t => {
  const { master, lines, probe } = setUp()
  await probe()
  await master.judge('rollback', 'no')
  t.equal(lines('this release was rolled back before').length, 0)
  const { next } = await probe()
  t.match(lines('this release was rolled back before'), [{ generation: 3, release: '/srv/release' }])
  next.completed.resolve()
  await master.judge('confirm', 'yes')
  const again = await probe()
  again.next.completed.resolve()
  await master.judge('confirm', 'yes')
  t.equal(lines('this release was rolled back before').length, 1, 'not once it has passed')
})
