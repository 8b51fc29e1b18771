import t from 'tap'
import { parseSize, resolveWorkers, teamOf } from '../../../lib/supervisor/workers.js'

const usage = { code: 'GRACEFUL_UPGRADE_USAGE' }

t.test('a number of workers is taken as it is, whatever the machine has', async t => {
  const one = { available: () => 1, quota: () => 1 }
  for (const [text, workers] of [
    ['1', 1],
    ['04', 4],
    ['1024', 1_024]
  ] as const)
    t.equal(resolveWorkers(text, one), workers)
  for (const text of ['0', '1025', '-1', '1.5', '1e3', ' 2', 'all', 'AUTO', ''])
    t.throws(() => resolveWorkers(text, one), { ...usage, message: /from 1 to 1024, or auto, but is/ }, text)
})

t.test('auto is what may be used, rounded down, and never none', async t => {
  for (const [available, quota, workers] of [
    [8, Number.POSITIVE_INFINITY, 8],
    [8, 2.9, 2],
    [2, 4, 2],
    [4, 0.1, 1],
    [1, 1, 1]
  ] as const)
    t.equal(resolveWorkers('auto', { available: () => available, quota: () => quota }), workers)
  t.ok(resolveWorkers('auto') >= 1, 'here, too')
})

t.test('a size is in bytes, or in powers of 1024', async t => {
  for (const [text, bytes] of [
    ['1048576', 2 ** 20],
    ['2048K', 2 ** 21],
    ['512M', 2 ** 29],
    ['512m', 2 ** 29],
    ['2G', 2 ** 31]
  ] as const)
    t.equal(parseSize(text), bytes)
  for (const text of ['512', '0', '-1M', '1.5G', '1T', 'M', '512MB', ' 1M', '', '9'.repeat(20)])
    t.throws(() => parseSize(text), { ...usage, message: /at least 1M, such as 512M or 2G, but is/ }, text)
})

t.test('without a word there is one worker, whose load would be evened out unless nothing moves', async t => {
  const none = { workers: 1, isAsked: false, balance: true, maxMemory: undefined }
  t.same(teamOf({}, { handover: 'idle' }), none)
  const empty = {
    GRACEFUL_UPGRADE_WORKERS: '',
    GRACEFUL_UPGRADE_BALANCE: '',
    GRACEFUL_UPGRADE_MAX_MEMORY: ''
  }
  t.same(teamOf(empty, { handover: 'all' }), none)
  t.same(teamOf({}, { handover: false }), { ...none, balance: false })
  t.same(teamOf({ GRACEFUL_UPGRADE_BALANCE: 'true' }, { handover: false }), none)
  t.same(teamOf({ GRACEFUL_UPGRADE_BALANCE: 'false' }, { handover: 'all' }), { ...none, balance: false })
  t.match(teamOf({ GRACEFUL_UPGRADE_WORKERS: '1' }, { handover: 'idle' }), { workers: 1, isAsked: true })
})
