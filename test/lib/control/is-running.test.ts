import t from 'tap'
import { isRunning } from '../../../lib/control/is-running.js'

t.test('who is not there does not run', async t => {
  t.ok(isRunning(process.pid))
  t.notOk(isRunning(2 ** 22 + 1), 'more than Linux gives out')
})
