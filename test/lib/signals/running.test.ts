import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createRunning } from '../../../lib/signals/running.js'
import { createDeferred } from '../../../lib/time/deferred.js'

const fail = (error: unknown) => void t.fail(String(error))

function play() {
  let ends = 0
  const running = createRunning(() => void ends++)
  return {
    running,
    ends: () => ends,
    isDone: () => Promise.race([running.done().then(() => true), turn(false)])
  }
}

t.test('what is no promise is not waited for', async t => {
  const { running, ends, isDone } = play()
  running.add(undefined, fail)
  running.add('a word', fail)
  t.ok(await isDone())
  t.equal(ends(), 0)
})

t.test('all promises are waited for, however they end, and their failures are told', async t => {
  const { running, ends, isDone } = play()
  const [one, other] = [createDeferred(), createDeferred()]
  const failures: unknown[] = []
  running.add(one.promise, fail)
  running.add(other.promise, error => failures.push(error))
  one.resolve()
  t.notOk(await isDone())
  t.equal(ends(), 1)
  other.reject('on purpose')
  t.ok(await isDone())
  t.equal(ends(), 2)
  t.same(failures, ['on purpose'])
})

t.test('what ends the process itself is waited for until the last word', async t => {
  const { running, isDone } = play()
  running.addEndless()
  t.notOk(await isDone())
  running.end()
  t.ok(await isDone())
  running.addEndless()
  t.ok(await isDone(), 'nor what comes behind it')
})
