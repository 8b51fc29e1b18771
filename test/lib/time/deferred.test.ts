import t from 'tap'
import { createDeferred } from '../../../lib/time/deferred.js'

t.test('is settled from outside, once', async t => {
  const deferred = createDeferred<number>()
  let settled = false
  void deferred.promise.then(() => (settled = true))
  await new Promise(setImmediate)
  t.notOk(settled, 'not by itself')
  const { promise, resolve, reject } = deferred // they need no object behind them
  resolve(1)
  resolve(2)
  reject(new Error('too late'))
  t.equal(await promise, 1)
})

t.test('is rejected from outside', async t => {
  const { promise, reject } = createDeferred()
  reject(new Error('gone'))
  await t.rejects(promise, { message: 'gone' })
})

t.test('follows another promise', async t => {
  const { promise, resolve } = createDeferred<string>()
  resolve(Promise.resolve('later'))
  t.equal(await promise, 'later')
})
