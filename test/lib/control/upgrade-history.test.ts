import { EventEmitter } from 'node:events'
import t from 'tap'
import { rememberUpgrades } from '../../../lib/control/upgrade-history.js'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { MasterEvents } from '../../../lib/master/events.js'
import type { Master } from '../../../lib/master/master.js'
import { playGeneration } from '../../helper/generation.ts'

const report = { refused: 4 } as never
const failure = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED')

function setUp() {
  const events = new EventEmitter<MasterEvents>()
  return { events, upgrades: rememberUpgrades({ events } as Master) }
}

t.test('the last ten upgrades are remembered, the newest first', async t => {
  const { events, upgrades } = setUp()
  for (let generation = 1; generation <= 11; generation++)
    events.emit('ready', { generation, pid: 100 + generation, ms: 5 })
  events.emit('failed', playGeneration(12, { pid: 0 }), failure, 7)
  t.same(
    upgrades().map(({ generation }) => generation),
    [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]
  )
  const { code, message } = failure
  t.match(upgrades()[0], { generation: 12, pid: null, at: Number, ms: 7, result: code, message })
})

t.test('what has become of the connections of one is told with the upgrade that followed on it', async t => {
  const { events, upgrades } = setUp()
  events.emit('ready', { generation: 1, pid: 101, ms: 5 })
  events.emit('failed', playGeneration(2), failure, 7)
  events.emit('ready', { generation: 3, pid: 103, ms: 5 })
  events.emit('ready', { generation: 4, pid: 104, ms: 5 })
  const retirement = { code: 0, signal: null, report }
  events.emit('retired', playGeneration(1), retirement, 9)
  const reports = () => upgrades().map(({ generation, report }) => [generation, report])
  t.same(reports(), [
    [4, undefined],
    [3, report],
    [2, undefined],
    [1, undefined]
  ])
  events.emit('retired', playGeneration(4), retirement, 9) // by what nobody remembers
  t.equal(upgrades().filter(({ report }) => report).length, 1)
})

t.test(
  'of one that was rolled back its own connections are told, also when another one has followed by then',
  async t => {
    const { events, upgrades } = setUp()
    const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_ROLLED_BACK')
    events.emit('ready', { generation: 1, pid: 101, ms: 5 })
    events.emit('failed', playGeneration(2), error, 7)
    events.emit('ready', { generation: 3, pid: 103, ms: 5 })
    events.emit('retired', playGeneration(2), { code: 0, signal: null, report }, 9)
    t.same(
      upgrades().map(({ generation, report }) => [generation, report]),
      [
        [3, undefined],
        [2, report],
        [1, undefined]
      ]
    )
  }
)
