import t from 'tap'
import { nearest } from '../../lib/nearest.js'
import { defaultOptions } from '../../lib/options.js'

const names = Object.keys(defaultOptions)

t.test('a slip is known for what was meant', async t => {
  for (const [slip, meant] of [
    ['drainTimeOut', 'drainTimeout'],
    ['drainTimout', 'drainTimeout'],
    ['draintimeout', 'drainTimeout'],
    ['signals', undefined],
    ['closeSignal', 'closeSignals'],
    ['reloadSignals', 'reloadSignal'],
    ['idleSpread', 'idleSpreadTime'],
    ['handOver', 'handover'],
    ['chekc', undefined],
    ['chek', 'check'],
    ['logger', undefined],
    ['', undefined]
  ] as const)
    t.equal(nearest(slip, names), meant, slip)
})
