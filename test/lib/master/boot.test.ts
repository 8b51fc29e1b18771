import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { createBoot } from '../../../lib/master/boot.js'
import type { MasterEvents } from '../../../lib/master/events.js'
import { createRoster } from '../../../lib/master/roster.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { listenToLog, type PlayedGeneration, playGeneration } from '../../helper/generation.ts'

const request = { listeners: [], succeeds: 'worker' } as const

/** What boots generations that the test plays. */
function setUp(start = (number: number, calls: string[]) => playGeneration(number, { calls })) {
  const calls: string[] = []
  const { log, lines } = listenToLog()
  const events = new EventEmitter<MasterEvents>()
  for (const event of ['booting', 'ready', 'failed', 'refused'] as const)
    events.on(event, () => calls.push(event))
  const roster = createRoster()
  const state = { closing: false }
  const bootNext = createBoot({
    log,
    events,
    roster,
    lastNumber: 4,
    workers: () => 3,
    start: ({ number }) => start(number, calls),
    upgrade: () => new Promise(() => {}),
    judge: async () => {},
    onErred() {},
    relay: async () => 'unavailable',
    isClosing: () => state.closing
  })
  const boot = (more = {}) => {
    const { next, ...booted } = bootNext({ ...request, ...more })
    return { ...booted, next: next as PlayedGeneration }
  }
  return { boot, calls, lines, roster, state }
}

t.test('what is waited for behind its readiness is asked for only then', async t => {
  const { boot, calls } = setUp()
  const asked = createDeferred()
  const { next, result } = boot({
    onReady() {
      calls.push('onReady')
      return asked.promise
    }
  })
  await turn()
  t.same(calls, ['booting'])
  next.becomeReady()
  await turn()
  t.same(calls, ['booting', 'onReady'])
  asked.resolve()
  t.match(await result, { generation: 5, pid: 105 })
  t.same(calls, ['booting', 'onReady', 'ready'])
})

t.test('one that can not even be started is refused, logged, and has used its number', async t => {
  const { boot, calls, lines, roster } = setUp((number, calls) => {
    if (number === 5) throw new Error('no descriptor is left')
    return playGeneration(number, { calls })
  })
  t.throws(boot, { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: /: no descriptor is left$/ })
  t.same(calls, ['refused'])
  t.match(lines('upgrade failed'), [{ generation: 5 }])
  t.same(roster.list(), [])
  t.equal(boot().next.number, 6)
})

t.test('one that fails is killed, unless it drains already', async t => {
  for (const drains of [false, true]) {
    const { boot, calls, roster } = setUp()
    const { next, result } = boot()
    if (drains) roster.drains(next)
    next.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_READY_TIMEOUT'))
    await t.rejects(result, { code: 'GRACEFUL_UPGRADE_READY_TIMEOUT' })
    t.equal(calls.includes('5 kill'), !drains)
    t.equal(roster.list().length, drains ? 1 : 0)
    next.end(1)
    await turn()
    t.equal(calls.at(-1), '5 release')
  }
})

t.test('one that is not wanted any more has failed for that reason', async t => {
  const { boot, lines, state } = setUp()
  const { result, giveUp } = boot({ failure: 'start failed' })
  state.closing = true
  giveUp()
  await t.rejects(result, { code: 'GRACEFUL_UPGRADE_CLOSING', cause: { code: 'GRACEFUL_UPGRADE_EXITED' } })
  t.same(lines('start failed'), [], 'which is none to tell')
})

t.test('a pid that is none is not logged', async t => {
  const { boot, lines } = setUp(number => playGeneration(number, { pid: 0 }))
  const { next, result } = boot()
  next.fail(new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED'))
  await t.rejects(result)
  t.equal(lines('upgrade failed')[0]!.generationPid, undefined)
})
