import { EventEmitter, once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { ConnectionOffer } from '../../../lib/handover/offer.js'
import type { TicketKeys } from '../../../lib/handover/session-tickets.js'
import type { RawHandle } from '../../../lib/internals/raw-handle.js'
import { createMaster } from '../../../lib/master/master.js'
import type { GenerationStart } from '../../../lib/master/spawn.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { listenToLog, type PlayedGeneration, playGeneration } from '../../helper/generation.ts'

const handle = { fd: 9 } as RawHandle

const code = (name: string) => ({ name: 'GracefulUpgradeError', code: `GRACEFUL_UPGRADE_${name}` })

/** A master that serves with its first generation; `calls` is all that it does, in order. */
function setUp({
  number = 1,
  isHere = false,
  /** Else it starts its first one. */
  serves = true,
  workers = undefined as number | undefined,
  whyNot = (): GracefulUpgradeError | undefined => undefined
} = {}) {
  const calls: string[] = []
  const starts: GenerationStart[] = []
  const generations: PlayedGeneration[] = []
  const events = new EventEmitter()
  const { log, lines } = listenToLog()
  const first = playGeneration(number, { calls, isHere, pid: 101 })

  const master = createMaster({
    first: serves ? first : [{ key: 'tcp::9', bound: '0.0.0.0:9', fd: 9 }],
    log,
    start(next) {
      calls.push(`start ${next.number}`)
      starts.push(next)
      const generation = playGeneration(next.number, { calls })
      generations.push(generation)
      events.emit('start', generation)
      return generation
    },
    team: workers === undefined ? undefined : { workers, balanced: { moved: 0, closed: 0 } },
    whyNot,
    placeOf: ({ number }) => `release ${number}`,
    onEnd: code => calls.push(`onEnd ${code}`)
  })

  return {
    master,
    first,
    calls,
    starts,
    generations,
    lines,
    /** The next generation that the master starts by itself. */
    started: async () => (await once(events, 'start'))[0] as PlayedGeneration,
    begin,
    upgrade
  }

  /** An upgrade that is under way. */
  function begin() {
    const result = master.upgrade()
    result.catch(() => {})
    return { result, next: generations.at(-1)! }
  }

  /** An upgrade from its start to its end; the old generation still drains. */
  async function upgrade() {
    const { result, next } = begin()
    next.becomeReady()
    await result
    return next
  }
}

/** Stops the clock of timers, and that of `clock.ts`. */
function stopTime(t: Test) {
  let now = 0
  const clock = mock.method(process, 'uptime', () => now / 1_000)
  mock.timers.enable({ apis: ['setTimeout'] })
  syncBuiltinESMExports()
  t.teardown(() => {
    mock.timers.reset()
    clock.mock.restore()
    syncBuiltinESMExports()
  })
  return async function pass(ms: number) {
    await turn()
    now += ms
    mock.timers.tick(ms)
    await turn()
  }
}

t.test('the next generation is given what it needs', async t => {
  const { master, calls, starts, begin } = setUp()
  begin()
  t.match(starts, [{ number: 2, listeners: [{ key: 'tcp::1', fd: 1 }], succeeds: 'worker' }])
  t.equal(starts[0]!.onUpgrade, master.upgrade, 'it may ask for an upgrade itself')
  t.equal(
    await starts[0]!.onOffer(offer(5), handle),
    'adopted',
    'and hand on its connections when it retires'
  )
  t.equal(calls.at(-1), '1 adopt 5')
})

t.test('what the owner of the master says against an upgrade is told, and nothing is started', async t => {
  const why = new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING')
  const { master, calls, lines } = setUp({ whyNot: () => why })
  const refused = once(master.events, 'refused')
  t.equal(await master.upgrade().catch(error => error), why)
  t.same(await refused, [why])
  t.match(lines('upgrade refused'), [{ err: why }])
  t.same(calls, [])
})

t.test('the next generation knows whether the one before it is the master itself', async t => {
  const { starts, upgrade, begin } = setUp({ isHere: true })
  await upgrade()
  begin()
  t.match(starts, [{ succeeds: 'master' }, { succeeds: 'worker' }])
})

t.test('beside workers of a lost master it is one that takes the place of a worker', async t => {
  const { starts, upgrade, first } = setUp({ isHere: true })
  first.hasOrphans = () => true
  await upgrade()
  t.match(starts, [{ succeeds: 'worker' }])
})

t.test('the next generation serves before the one before it retires', async t => {
  const { calls, begin, lines } = setUp()
  const { result, next } = begin()
  await turn()
  t.same(calls, ['start 2', '1 upgrading true'], 'nothing happens before it is ready')
  next.becomeReady(['tcp::9'])
  t.match(await result, { generation: 2, pid: 102, ms: Number })
  t.same(calls.slice(2), ['2 serve', '1 retire'])
  t.match(lines('generation ready'), [
    { generation: 2, generationPid: 102, ms: Number, unclaimed: ['tcp::9'] }
  ])
})

t.test('the old generation is released when it has ended, however that was', async t => {
  for (const [ending, signal] of [[0], [1], [null, 'SIGKILL' as const]] as const) {
    const { calls, first, upgrade, lines } = setUp()
    await upgrade()
    await turn()
    t.notOk(calls.includes('1 release'))
    first.end(ending, signal)
    await turn()
    t.equal(calls.at(-1), '1 release')
    t.match(lines('generation retired'), [
      { generation: 1, generationPid: 101, code: ending, signal: signal ?? null }
    ])
    t.same(lines('generation died'), [])
    t.equal(calls.filter(call => call.startsWith('start')).length, 1, 'and nothing takes its place')
  }
})

/** Ticket keys that a test tells from others. */
const keysNamed = (keys: string): TicketKeys[] => [
  { listener: { key: 'tcp::1', bound: '0.0.0.0:1' }, keys, sessionIdContext: '', clients: null }
]

t.test('the next generation gets the ticket keys that the old one has when the next is ready', async t => {
  const { first, upgrade, begin } = setUp()
  first.ticketKeys = async () => keysNamed('too early')
  const { result, next } = begin()
  await turn()
  first.ticketKeys = async () => keysNamed('in time')
  next.becomeReady()
  await result
  t.same(next.given, keysNamed('in time'))
  const third = await upgrade()
  t.same(third.given, keysNamed('in time'), 'one that does not answer has the keys that it was given')
  third.ticketKeys = async () => []
  t.same((await upgrade()).given, [], 'one that has none has none')
})

t.test('a dead worker is not asked: what it said when it took over is known', async t => {
  const { first, begin, started } = setUp()
  const { result, next: second } = begin()
  first.ticketKeys = async () => keysNamed('of the first')
  second.ticketKeys = async () => keysNamed('of the second')
  second.becomeReady()
  await result
  await turn()
  second.ticketKeys = () => new Promise(() => {})
  second.end(1)
  const third = await started()
  third.becomeReady()
  await turn()
  t.same(third.given, keysNamed('of the second'))
})

t.test('close() while the old generation is asked for its ticket keys gives the upgrade up', async t => {
  const { master, calls, first, begin, lines } = setUp()
  first.ticketKeys = () => first.ended.then(() => null)
  const { result, next } = begin()
  next.becomeReady()
  await turn()
  const closed = master.close('SIGTERM')
  first.end(0)
  t.equal(await closed, 0)
  await t.rejects(result, code('CLOSING'))
  t.ok(calls.includes('2 kill'))
  t.notOk(calls.includes('2 serve'))
  t.same(lines('generation ready'), [])
})

t.test('a generation that dies while the old one is asked for its ticket keys never serves', async t => {
  const { master, calls, first, begin, upgrade } = setUp()
  first.ticketKeys = () => new Promise(() => {})
  const { result, next } = begin()
  next.becomeReady()
  await turn()
  next.end(1)
  await t.rejects(result, code('EXITED'))
  t.same(calls.slice(2), ['2 kill', '2 release', '1 upgrading false'])
  t.equal(master.state, 'serving')
  first.ticketKeys = async () => keysNamed('of the first')
  t.same((await upgrade()).given, keysNamed('of the first'), 'the old one serves on')
})

t.test('a generation that dies while it is asked for its ticket keys is followed by the next', async t => {
  const { master, calls, first, begin, lines } = setUp()
  first.ticketKeys = () => first.ended.then(() => null)
  const { result, next } = begin()
  next.becomeReady()
  await turn()
  first.end(1)
  t.match(await result, { generation: 2 })
  t.same(next.given, [])
  t.ok(calls.includes('2 serve'))
  t.equal(master.state, 'serving')
  t.same(lines('generation died'), [], 'one replacement is enough')
})

t.test('upgrades may overlap with drains', async t => {
  const { calls, first, upgrade } = setUp()
  const second = await upgrade()
  await upgrade()
  second.end(0)
  await turn()
  first.end(0)
  await turn()
  t.same(calls.slice(-4), ['3 serve', '2 retire', '2 release', '1 release'])
})

t.test('a second upgrade is refused while one is under way', async t => {
  const { master, calls, begin, lines } = setUp()
  const { result, next } = begin()
  await t.rejects(master.upgrade(), code('IN_PROGRESS'))
  t.equal(lines('upgrade refused').length, 1)
  next.becomeReady()
  t.match(await result, { generation: 2 })
  t.same(calls, ['start 2', '1 upgrading true', '2 serve', '1 retire'])
  t.same(lines('upgrade failed'), [])
})

t.test('a generation that fails is ended, and the current one serves on', async t => {
  const { calls, begin, lines, upgrade } = setUp()
  const { result, next } = begin()
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_READY_TIMEOUT')
  next.fail(error)
  t.equal(await result.catch(reason => reason), error)
  await turn()
  t.same(calls.slice(0, 3), ['start 2', '1 upgrading true', '2 kill'])
  t.same(calls.slice(3).sort(), ['1 upgrading false', '2 release'])
  t.match(lines('upgrade failed'), [{ generation: 2, generationPid: 102, err: error }])
  t.match(await upgrade(), { number: 3 }, 'the next try is a new one')
})

t.test('the master gives back what a failed generation holds only when that has ended', async t => {
  const { calls, begin } = setUp()
  const { result, next } = begin()
  const released = () => calls.includes('2 release')
  next.kill = () => calls.push('2 kill') && undefined
  next.fail(new Error('late'))
  await t.rejects(result)
  await turn()
  t.notOk(released())
  next.end(null, 'SIGKILL')
  await turn()
  t.ok(released())
})

t.test('numbers are never given twice', async t => {
  const { master, starts, begin, upgrade, started } = setUp({ number: 7 })
  const { result, next } = begin()
  next.end(1)
  await t.rejects(result, code('EXITED'))
  const current = await upgrade()
  const replacement = started()
  current.end(1)
  const failing = await replacement
  failing.end(1)
  await turn()
  const third = started()
  const again = master.upgrade()
  ;(await third).becomeReady()
  t.match(await again, { generation: 11 })
  t.same(
    starts.map(({ number }) => number),
    [8, 9, 10, 11]
  )
})

t.test('a generation that dies is replaced at once', async t => {
  for (const [ending, signal] of [[1], [134], [null, 'SIGSEGV' as const]] as const) {
    const { calls, starts, first, started, lines } = setUp()
    const replacement = started()
    first.end(ending, signal)
    const next = await replacement
    t.match(starts, [{ number: 2, listeners: [{ key: 'tcp::1', fd: 1 }], succeeds: 'none' }])
    t.match(lines('generation died'), [
      { generation: 1, generationPid: 101, code: ending, signal: signal ?? null }
    ])
    t.notOk(calls.includes('1 release'), 'its listeners are held until then')
    next.becomeReady()
    await turn()
    t.same(calls, ['start 2', '2 serve', '1 release'])
  }
})

t.test('a replacement that dies is replaced too', async t => {
  const pass = stopTime(t)
  const { calls, first, generations } = setUp()
  first.end(1)
  await pass(0)
  generations[0]!.becomeReady()
  await pass(500)
  generations[0]!.end(1)
  await pass(1_000)
  generations[1]!.becomeReady()
  await pass(0)
  t.same(calls, ['start 2', '2 serve', '1 release', 'start 3', '3 serve', '2 release'])
})

t.test('the pauses between replacements grow up to half a minute', async t => {
  const pass = stopTime(t)
  const { calls, first, generations, lines } = setUp()
  first.end(1)
  await pass(0)
  for (const pause of [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000, 30_000]) {
    const number = generations.length
    generations.at(-1)!.end(1)
    await pass(pause - 1)
    t.equal(generations.length, number, `not before ${pause} ms`)
    await pass(1)
    t.equal(generations.length, number + 1, `after ${pause} ms`)
  }
  t.equal(lines('upgrade failed').length, 8)
  t.notOk(calls.includes('1 release'))
})

t.test('after twelve attempts in a row the master gives up, says so and ends with code 1', async t => {
  const pass = stopTime(t)
  const { calls, first, generations, lines, master } = setUp()
  first.end(1)
  await pass(0)
  for (let attempt = 1; attempt <= 12; attempt++) {
    t.equal(generations.length, attempt)
    t.same(lines('given up'), [], `not before attempt ${attempt} has failed`)
    generations.at(-1)!.end(1)
    await pass(30_000)
  }
  t.equal(generations.length, 12)
  t.match(lines('given up'), [{ err: { ...code('GAVE_UP'), message: /12 attempts in a row/ } }])
  t.equal(calls.at(-1), 'onEnd 1')
  await t.rejects(master.upgrade(), code('CLOSING'))
  await pass(60_000)
  t.equal(generations.length, 12, 'and nothing more is started')
})

t.test(
  'a replacement that has served for ten seconds makes the attempts count from the beginning',
  async t => {
    const pass = stopTime(t)
    const { first, generations, lines } = setUp()
    first.end(1)
    await pass(0)
    for (let attempt = 1; attempt < 12; attempt++) {
      generations.at(-1)!.end(1)
      await pass(30_000)
    }
    generations.at(-1)!.becomeReady()
    await pass(10_000)
    generations.at(-1)!.end(1)
    await pass(0)
    t.equal(generations.length, 13, 'at once')
    t.same(lines('given up'), [])
  }
)

t.test('a generation that was healthy ends the row of attempts, also if it is upgraded', async t => {
  const pass = stopTime(t)
  const { generations, lines, begin } = setUp()
  for (let release = 1; release <= 13; release++) {
    const { next: bad } = begin()
    bad.becomeReady()
    await pass(0)
    bad.end(1)
    await pass(0)
    t.equal(generations.length, 2 * release, `bad release ${release} is replaced at once`)
    generations.at(-1)!.becomeReady()
    await pass(10_000)
  }
  t.same(lines('given up'), [])
})

t.test('a generation that was upgraded before it was healthy does not, however long it drains', async t => {
  const pass = stopTime(t)
  const { first, generations, begin } = setUp()
  first.end(1)
  await pass(0)
  generations[0]!.becomeReady()
  await pass(5_000)
  const { next } = begin()
  next.becomeReady()
  await pass(6_000)
  generations[0]!.end(0)
  await pass(0)
  next.end(1)
  await pass(999)
  t.equal(generations.length, 2, 'the second attempt is not made at once')
  await pass(1)
  t.equal(generations.length, 3)
})

for (const [served, pause] of [
  [9_999, 1_000],
  [10_000, 0]
] as const) {
  t.test(`the pause before a replacement is ${pause} ms if the dead one has served ${served} ms`, async t => {
    const pass = stopTime(t)
    const { first, generations } = setUp()
    first.end(1)
    await pass(0)
    generations[0]!.becomeReady()
    await pass(served)
    generations[0]!.end(1)
    if (pause > 0) await pass(pause - 1)
    t.equal(generations.length, 1)
    await pass(1)
    t.equal(generations.length, 2)
  })
}

t.test('an upgrade that is asked for in a pause ends it', async t => {
  const pass = stopTime(t)
  const { master, first, generations, lines } = setUp()
  first.end(1)
  await pass(0)
  generations[0]!.end(1)
  await pass(0)
  const results = [master.upgrade(), master.upgrade()]
  await pass(0)
  t.equal(generations.length, 2)
  await t.rejects(master.upgrade(), code('IN_PROGRESS'), 'not so when the pause is over')
  generations[1]!.becomeReady()
  for (const result of results) t.match(await result, { generation: 3, pid: 103 })
  t.equal(lines('upgrade refused').length, 1)
  await pass(60_000)
  t.equal(generations.length, 2)
})

t.test('an upgrade that is asked for in a pause tells that it has failed', async t => {
  const pass = stopTime(t)
  const { master, first, generations } = setUp()
  first.end(1)
  await pass(0)
  generations[0]!.end(1)
  await pass(0)
  const result = master.upgrade()
  result.catch(() => {})
  await pass(0)
  generations[1]!.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_READY_TIMEOUT'))
  await t.rejects(result, code('READY_TIMEOUT'))
  await pass(2_000)
  t.equal(generations.length, 3, 'and the next one comes all the same')
})

t.test('a generation that ends with code 0 ends the server', async t => {
  const { calls, first, lines } = setUp()
  first.end(0)
  await turn()
  t.same(calls, ['1 release', '1 close null', 'onEnd 0'])
  t.match(lines('generation ended by itself'), [{ generation: 1, generationPid: 101 }])
})

t.test('the server ends by itself only when those that drain have ended', async t => {
  const { calls, first, upgrade } = setUp()
  const second = await upgrade()
  second.end(0)
  await turn()
  t.notOk(calls.includes('onEnd 0'))
  first.end(0)
  await turn()
  t.ok(calls.includes('onEnd 0'))
})

t.test('close() drains the current generation and resolves with its exit code', async t => {
  for (const [ending, expected] of [
    [0, 0],
    [7, 7],
    [null, 1]
  ] as const) {
    const { master, calls, first } = setUp()
    const closed = master.close('SIGTERM')
    t.same(calls, ['1 release', '1 close SIGTERM'], 'nobody listens here any more')
    first.end(ending)
    t.equal(await closed, expected)
    t.same(calls, ['1 release', '1 close SIGTERM'])
  }
})

t.test('close() hurries those that drain and waits for them; their exit codes do not matter', async t => {
  const { master, calls, first, upgrade } = setUp()
  const second = await upgrade()
  let code: number | undefined
  const closed = master.close('SIGTERM').then(value => {
    code = value
  })
  t.same(calls.slice(-2).sort(), ['1 close SIGTERM', '2 close SIGTERM'])
  second.end(0)
  await turn()
  t.equal(code, undefined)
  first.end(1)
  await closed
  t.equal(code, 0)
})

t.test('close() is idempotent, and refuses upgrades from then on', async t => {
  const { master, calls, first, lines } = setUp()
  const closed = master.close('SIGINT')
  t.equal(master.close('SIGTERM'), closed)
  await t.rejects(master.upgrade(), code('CLOSING'))
  first.end(0)
  t.equal(await closed, 0)
  t.equal(master.close(null), closed)
  await t.rejects(master.upgrade(), code('CLOSING'))
  t.same(calls, ['1 release', '1 close SIGINT'])
  t.equal(lines('upgrade refused').length, 2)
})

t.test('close() during an upgrade gives it up', async t => {
  const { master, calls, first, begin, lines } = setUp()
  const { result } = begin()
  const closed = master.close('SIGTERM')
  await t.rejects(result, { ...code('CLOSING'), cause: code('EXITED') })
  t.same(calls.slice(2, 5), ['2 kill', '1 release', '1 close SIGTERM'])
  first.end(3)
  t.equal(await closed, 3)
  t.ok(calls.includes('2 release'))
  t.notOk(calls.includes('2 serve'))
  t.same(lines('upgrade failed'), [], 'which is no failure')
})

t.test('a generation that gets ready too late for close() does not serve', async t => {
  const { master, calls, begin, first } = setUp()
  const { result, next } = begin()
  next.becomeReady()
  const closed = master.close(null)
  await t.rejects(result, code('CLOSING'))
  first.end(0)
  await closed
  t.ok(calls.includes('2 kill'))
  t.notOk(calls.includes('2 serve'))
  t.notOk(calls.includes('1 retire'))
})

t.test('close() in a pause between replacements ends it with code 1', async t => {
  const pass = stopTime(t)
  const { master, first, generations } = setUp()
  first.end(1)
  await pass(0)
  generations[0]!.end(1)
  await pass(0)
  t.equal(await master.close('SIGTERM'), 1)
  await pass(60_000)
  t.equal(generations.length, 1)
})

t.test('close() in a pause that an upgrade has ended gives that up', async t => {
  const pass = stopTime(t)
  const { master, first, generations } = setUp()
  first.end(1)
  await pass(0)
  generations[0]!.end(1)
  await pass(0)
  const result = master.upgrade()
  result.catch(() => {})
  t.equal(await master.close(null), 1)
  await t.rejects(result, code('CLOSING'))
  t.equal(generations.length, 1)
})

t.test('close() while a replacement starts kills it', async t => {
  const { master, calls, first, started } = setUp()
  const replacement = started()
  first.end(1)
  await replacement
  t.equal(await master.close('SIGTERM'), 1)
  await turn()
  t.same(calls, ['start 2', '2 kill', '1 release', '2 kill', '2 release'])
})

t.test('a generation that dies while the server closes is not replaced', async t => {
  const { master, calls, first, lines } = setUp()
  const closed = master.close(null)
  first.end(1)
  t.equal(await closed, 1)
  await turn()
  t.same(calls, ['1 release', '1 close null'])
  t.same(lines('generation died'), [])
})

t.test('kill() ends at once what close() waits for, and nothing before', async t => {
  const { master, calls, upgrade } = setUp()
  await upgrade()
  master.kill()
  t.notOk(calls.includes('2 kill'))
  const closed = master.close(null)
  master.kill()
  t.same(calls.slice(-3), ['2 close null', '1 kill', '2 kill'])
  t.equal(await closed, 1)
})

t.test('a generation that dies while the next one starts is succeeded by that', async t => {
  const { calls, first, begin, lines } = setUp()
  const { result, next } = begin()
  first.end(1)
  await turn()
  t.same(calls, ['start 2', '1 upgrading true'])
  next.becomeReady()
  t.match(await result, { generation: 2 })
  await turn()
  t.same(calls.slice(2), ['2 serve', '1 retire', '1 release'])
  t.same(lines('generation died'), [])
})

t.test('a generation that has died during an upgrade that fails is replaced', async t => {
  const { calls, first, begin, started, lines } = setUp()
  const { result, next } = begin()
  first.end(1)
  await turn()
  const replacement = started()
  next.end(1)
  await t.rejects(result, code('EXITED'))
  t.equal((await replacement).number, 3)
  t.match(lines('generation died'), [{ generation: 1, code: 1 }])
  t.notOk(calls.includes('1 release'))
})

t.test('a generation that has ended by itself during an upgrade that fails ends the server', async t => {
  const { calls, first, begin } = setUp()
  const { result, next } = begin()
  first.end(0)
  next.end(1)
  await t.rejects(result, code('EXITED'))
  await turn()
  t.same(calls.slice(-2), ['1 close null', 'onEnd 0'])
})

t.test('close() during an upgrade whose current generation has died ends with its code', async t => {
  const pass = stopTime(t)
  const { master, first, begin, generations, lines } = setUp()
  const { result } = begin()
  first.end(3)
  await turn()
  t.equal(await master.close(null), 3)
  await t.rejects(result, code('CLOSING'))
  await pass(60_000)
  t.same(lines('generation died'), [])
  t.equal(generations.length, 1, 'and nothing takes its place')
})

/** A connection that may stay idle for so long. */
function offer(idleTime: number): ConnectionOffer {
  return { listener: { key: 'tcp::3000', bound: '0.0.0.0:3000' }, idleTime }
}

t.test('a connection goes to the generation that serves at that time', async t => {
  const pass = stopTime(t)
  const { master, calls, first, starts, begin, upgrade, generations } = setUp()
  const { result, next } = begin()
  t.equal(await starts[0]!.onOffer(offer(1), handle), 'adopted', 'the old one, while the next one starts')
  next.becomeReady()
  await result
  t.equal(await relay(2), 'adopted')
  const third = await upgrade()
  t.equal(await relay(3), 'adopted')

  third.end(1)
  await pass(0)
  t.equal(await relay(4), 'unavailable', 'while there is none')
  generations.at(-1)!.becomeReady()
  await pass(0)
  t.equal(await relay(5), 'adopted')

  const closed = master.close(null)
  t.equal(await relay(6), 'refused', 'when nobody follows')
  for (const generation of [first, ...generations]) generation.end(0)
  await closed
  const adopted = calls.filter(call => / adopt /.test(call))
  t.same(adopted, ['1 adopt 1', '2 adopt 2', '3 adopt 3', '4 adopt 5'])

  function relay(idleTime: number) {
    return master.relay(first, offer(idleTime), handle)
  }
})

t.test('a connection is never given back to the generation that gives it', async t => {
  const { master, calls, first, begin } = setUp()
  t.equal(await master.relay(first, offer(1), handle), 'unavailable')
  const { result, next } = begin()
  first.die() // it drains already
  t.equal(await master.relay(first, offer(2), handle), 'unavailable')
  next.becomeReady()
  await result
  t.equal(await master.relay(first, offer(3), handle), 'adopted')
  t.same(
    calls.filter(call => / adopt /.test(call)),
    ['2 adopt 3']
  )
})

t.test('whoever counts is told what has become of upgrades, of connections and of the dead', async t => {
  const pass = stopTime(t)
  const { master, first, begin, upgrade, generations } = setUp()
  const told: unknown[] = []
  master.events.on('upgraded', ({ generation }) => told.push(`upgraded ${generation}`))
  master.events.on('notUpgraded', ({ code }) => told.push(code))
  master.events.on('moved', direction => told.push(direction))
  master.events.on('restart', reason => told.push(reason))
  const { next: bad } = begin()
  await t.rejects(master.upgrade())
  bad.end(1)
  await pass(0)
  t.same(told.splice(0), ['GRACEFUL_UPGRADE_IN_PROGRESS', 'GRACEFUL_UPGRADE_EXITED'])
  const third = await upgrade()
  await master.relay(first, offer(1), handle)
  t.same(told.splice(0), ['upgraded 3', 'forward'])
  Object.assign(third, { adopt: async () => 'refused' })
  await master.relay(first, offer(1), handle)
  t.same(told.splice(0), [], 'one that was not taken has not moved')
  third.end(null, 'SIGKILL')
  await pass(0)
  generations.at(-1)!.becomeReady()
  await pass(0)
  t.same(told.splice(0), ['died'], 'who takes the place of a dead one is no upgrade')
})

t.test('who gives to an older generation gives back', async t => {
  const terms = { time: 20_000, share: 0.1, errorRate: false } as const
  const { master, first, begin, generations } = setUp()
  const told: string[] = []
  master.events.on('moved', direction => told.push(direction))
  first.probation = terms
  const { result, next } = begin()
  result.catch(() => {})
  next.probation = terms
  next.becomeReady()
  while (master.state !== 'probation') await turn()
  await master.relay(first, offer(1), handle)
  await master.relay(generations[0]!, offer(1), handle)
  t.same(told, ['forward', 'back'])
  next.end(1)
  await t.rejects(result)
})

t.test('one can see which generations there are, and which one serves', async t => {
  stopTime(t) // one that has served for ten seconds, since its process began, is replaced without a pause
  const { master, first, begin } = setUp()
  const seen = () => master.generations().map(({ generation, state }) => `${generation.number} ${state}`)
  t.equal(master.serving(), first)
  const { result, next } = begin()
  t.same(seen(), ['1 serving', '2 booting'])
  next.becomeReady()
  await result
  t.same(seen(), ['2 serving', '1 draining'])
  t.equal(master.serving(), next)
  next.die()
  await turn()
  t.equal(master.state, 'replacing')
  t.equal(master.serving(), undefined)
  t.same(seen().slice(0, 2), ['1 draining', '2 draining'])
  first.end(0)
  await turn()
  t.notOk(seen().includes('1 draining'))
})

t.test(
  'a master of nothing starts its first generation at once, with the listeners that it was given',
  async t => {
    const { master, calls, starts, generations, lines } = setUp({ serves: false })
    t.equal(master.state, 'starting')
    t.match(starts, [{ number: 1, listeners: [{ key: 'tcp::9', fd: 9 }], succeeds: 'none' }])
    await t.rejects(master.upgrade(), code('IN_PROGRESS'))
    t.equal(await master.relay(generations[0]!, offer(1), handle), 'unavailable')
    generations[0]!.becomeReady()
    await turn()
    t.same(calls, ['start 1', '1 serve'])
    t.equal(master.serving(), generations[0])
    t.match(lines('generation ready'), [{ generation: 1, generationPid: 101 }])
  }
)

t.test('a first generation that fails ends the master with its code, or with what a shell says', async t => {
  for (const [ending, signal, expected] of [
    [0, undefined, 1],
    [3, undefined, 3],
    [null, 'SIGKILL', 1],
    [null, 'SIGABRT', 134],
    [null, 'SIGTERM', 143],
    [null, undefined, 1] // it could not even be started
  ] as const) {
    const { calls, generations, lines } = setUp({ serves: false })
    generations[0]!.end(ending, signal)
    await turn()
    t.equal(calls.at(-1), `onEnd ${expected}`)
    t.equal(lines('start failed').length, 1)
    t.same(lines('upgrade failed'), [])
    t.same(
      calls.filter(call => call.startsWith('start')),
      ['start 1'],
      'no second try'
    )
  }
})

t.test(
  'a first generation that boots drains at close(), and is not killed when it fails meanwhile',
  async t => {
    const { master, calls, generations } = setUp({ serves: false })
    const first = generations[0]!
    const closed = master.close('SIGTERM')
    t.same(calls, ['start 1', '1 release', '1 close SIGTERM'])
    first.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_READY_TIMEOUT'))
    await turn()
    t.notOk(calls.includes('1 kill'), 'it has clients')
    first.end(null)
    t.equal(await closed, 0)
    t.notOk(calls.some(call => call.startsWith('onEnd')))
  }
)

t.test(
  'abandon() gives up the upgrade under way, and refuses those after it; without one it does nothing',
  async t => {
    const { master, calls, begin } = setUp()
    master.abandon()
    t.equal(master.state, 'serving')
    const { result } = begin()
    master.abandon()
    await t.rejects(result, code('CLOSING'))
    t.ok(calls.includes('2 kill'))
    t.notOk(
      calls.some(call => call.startsWith('1 close')),
      'the application closes itself'
    )
    t.same(master.generations(), [])
    await t.rejects(master.upgrade(), code('CLOSING'))
  }
)

t.test('so many workers as are wanted now are what each next generation begins with', async t => {
  const { master, first, starts, begin, upgrade } = setUp({ workers: 2 })
  t.equal(master.workers, 2)
  first.scale = async workers => workers
  t.equal(await master.scale(4), 4)
  t.equal(master.workers, 4)
  await upgrade()
  begin()
  t.match(starts, [{ workers: 4 }, { workers: 4 }])
  t.match(setUp({ serves: false, workers: 3 }).starts, [{ workers: 3 }], 'the first one, too')
})

t.test('the number of workers stays while something else is under way', async t => {
  const { master, first, begin, started, lines } = setUp({ workers: 2 })
  const scaled: number[] = []
  const scale = async (workers: number) => {
    scaled.push(workers)
    return workers
  }
  first.scale = scale
  const { next } = begin()
  next.scale = scale
  await t.rejects(master.scale(3), code('IN_PROGRESS'), 'an upgrade')
  next.becomeReady()
  await turn()
  t.equal(await master.scale(3), 3, 'the old generation drains yet')
  const replaced = started()
  next.end(1)
  await turn()
  await t.rejects(master.scale(4), code('IN_PROGRESS'), 'a dead generation is replaced')
  await replaced
  void master.close(null)
  await t.rejects(master.scale(5), code('CLOSING'))
  t.same(scaled, [3])
  t.equal(master.workers, 3)
  t.equal(lines('scaling refused').length, 3)

  const starting = setUp({ serves: false, workers: 2 })
  await t.rejects(starting.master.scale(3), code('IN_PROGRESS'), 'the start')
})

t.test(
  'what balance has done is told from the beginning on, and is nothing where nobody balances',
  async t => {
    t.same(setUp().master.balance(), { moved: 0, closed: 0 })
    const { log } = listenToLog()
    const team = { workers: 2, balanced: { moved: 3, closed: 1 } }
    const master = createMaster({
      first: playGeneration(1),
      log,
      start: () => playGeneration(2),
      team,
      placeOf: () => undefined,
      onEnd() {}
    })
    t.same(master.balance(), { moved: 3, closed: 1 })
  }
)

t.test('an upgrade is refused while the number of workers changes', async t => {
  const { master, calls, first } = setUp({ workers: 2 })
  const done = createDeferred<number>()
  first.scale = () => done.promise
  const scaled = master.scale(3)
  await t.rejects(master.upgrade(), code('IN_PROGRESS'))
  t.same(calls, [])
  done.resolve(3)
  await scaled
  void master.upgrade()
  t.same(calls, ['start 2', '1 upgrading true'])
})

t.test('a second signal skips the delays of all that close, if there are any', async t => {
  const { master, calls, first, upgrade } = setUp()
  const second = await upgrade()
  t.notOk(master.hurry(), 'nothing closes')
  void master.close('SIGTERM')
  t.notOk(master.hurry())
  first.lingers = true
  second.lingers = true
  t.ok(master.hurry())
  t.same(calls.slice(-2).sort(), ['1 hurry', '2 hurry'])
  t.notOk(master.hurry())
})
