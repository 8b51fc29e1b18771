import { EventEmitter } from 'node:events'
import t from 'tap'
import { type ErrorCode, GracefulUpgradeError } from '../../../lib/errors.js'
import type { MasterEvents } from '../../../lib/master/events.js'
import { countEvents } from '../../../lib/metrics/counters.js'
import { playGeneration } from '../../helper/generation.ts'

function setUp(serving?: number) {
  const events = new EventEmitter<MasterEvents>()
  const first = serving === undefined ? undefined : playGeneration(serving)
  const counters = countEvents({ events, serving: () => first })
  const fail = (code: string) =>
    events.emit('notUpgraded', new GracefulUpgradeError(`GRACEFUL_UPGRADE_${code}` as ErrorCode))
  return { events, counters, fail }
}

t.test('the first start is no upgrade, but a success', async t => {
  const { events, counters } = setUp()
  t.match(counters, { generation: undefined, lastSuccess: undefined, isLastSuccessful: true })
  events.emit('ready', { generation: 1, pid: 101, ms: 5 })
  t.match(counters, { generation: 1, lastSuccess: Number, upgrades: { success: 0 } })
  t.match(setUp(7).counters, { generation: 7, lastSuccess: Number }, 'also where it serves already')
})

t.test('a dead generation that is replaced is no upgrade', async t => {
  const { events, counters } = setUp(1)
  events.emit('restart', 'died')
  events.emit('ready', { generation: 2, pid: 102, ms: 5 })
  t.match(counters, { generation: 2, upgrades: { success: 0 }, restarts: { died: 1, ended: 0 } })
})

t.test('upgrades are counted by what has become of them', async t => {
  const { events, counters, fail } = setUp(1)
  events.emit('upgraded', { generation: 2, pid: 102, ms: 250 })
  t.match(counters, {
    upgrades: { success: 1 },
    isLastSuccessful: true,
    durations: { boot: { count: 1, ms: 250 } }
  })
  for (const code of ['EXITED', 'READY_TIMEOUT', 'CHECK_FAILED', 'SPAWN_FAILED', 'ROLLED_BACK']) fail(code)
  t.equal(counters.isLastSuccessful, false)
  for (const code of ['IN_PROGRESS', 'ON_PROBATION', 'NOT_SERVING', 'UNSUPPORTED', 'CLOSING']) fail(code)
  t.same(counters.upgrades, { success: 1, failed: 4, rolled_back: 1, refused: 4 })
  events.emit('upgraded', { generation: 9, pid: 102, ms: 50 })
  t.match(counters, { isLastSuccessful: true, durations: { boot: { count: 2, ms: 300 } } })
  fail('IN_PROGRESS')
  t.equal(counters.isLastSuccessful, true, 'one that is refused says nothing of the new version')
})

t.test('connections, probations and drains', async t => {
  const { events, counters } = setUp(1)
  const old = playGeneration(1)
  for (const direction of ['forward', 'forward', 'back', 'sideways'] as const) events.emit('moved', direction)
  events.emit('judged', old, 30_000)
  const report = { refused: 0, longestPause: 12, kinds: {} }
  events.emit('retired', old, { code: 0, signal: null, report }, 400)
  t.match(counters, {
    moved: { forward: 2, back: 1, sideways: 1 },
    durations: { probation: { count: 1, ms: 30_000 }, drain: { count: 1, ms: 400 } },
    longestPause: 12
  })
  events.emit('retired', old, { code: null, signal: 'SIGKILL', report: null }, 100)
  t.match(counters, { durations: { drain: { count: 2, ms: 500 } }, longestPause: 0 })
})
