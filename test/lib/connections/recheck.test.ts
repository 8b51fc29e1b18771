import t from 'tap'
import { connectionOf } from '../../../lib/connections/connection.js'
import { createRecheck } from '../../../lib/connections/recheck.js'
import { followHttp, until } from '../../helper/accepted.ts'

t.test('one look serves all that have been answered, and also none', async t => {
  const { connect } = await followHttp(t)
  const connections = [await connect(), await connect(), await connect()].map(({ socket }) =>
    connectionOf(socket)
  )
  const looks: number[] = []
  const recheck = createRecheck(states => void looks.push([...states].length))
  t.equal(recheck.isWanted(), false)
  for (const connection of connections) {
    recheck.add(connection)
    recheck.schedule()
  }
  t.equal(recheck.isWanted(), true)
  await until(() => looks.length > 0)
  t.equal(recheck.isWanted(), false)
  recheck.schedule()
  await until(() => looks.length > 1)
  await new Promise(setImmediate)
  t.same(looks, [3, 0])
})

t.test('looks that take long are far apart', async t => {
  let looks = 0
  const recheck = createRecheck(() => {
    looks++
    const end = performance.now() + 10
    while (performance.now() < end);
  })
  recheck.schedule()
  await until(() => looks === 1)
  const begun = performance.now()
  recheck.schedule()
  await until(() => looks === 2)
  t.ok(performance.now() - begun >= 99, 'ten times as long as the last one took')
})

t.test('when it is over nobody looks', async t => {
  const over = new AbortController()
  const recheck = createRecheck(() => t.fail('looked'), over.signal)
  recheck.schedule()
  over.abort()
  await new Promise(setImmediate)
  await new Promise(setImmediate)
})
