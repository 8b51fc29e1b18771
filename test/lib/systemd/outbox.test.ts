import t from 'tap'
import { createOutbox } from '../../../lib/systemd/outbox.js'

/** systemd, which takes a message when the test says so. */
function setUp() {
  const sent: string[] = []
  const errors: [string, readonly string[]][] = []
  let done: ((error?: Error) => void) | undefined
  const outbox = createOutbox(
    (assignments, then) => {
      if (done !== undefined) throw new Error('two at a time')
      sent.push(assignments.join(' '))
      done = then
    },
    ({ message }, assignments) => errors.push([message, assignments])
  )
  return { ...outbox, sent, errors, take }

  function take(error?: Error): void {
    const then = done
    done = undefined
    then?.(error)
  }
}

t.test('one message is under way at a time, and states are told in their order', async t => {
  const { say, sent, take } = setUp()
  say(['READY', '1'], ['STATUS', 'one'])
  say(['RELOADING', '1'])
  say(['READY', '1'])
  t.same(sent, ['READY=1 STATUS=one'])
  take()
  t.same(sent.slice(1), ['RELOADING=1'])
  take()
  take()
  t.same(sent.slice(2), ['READY=1'])
})

t.test('what is added goes with the last that waits, and replaces what is out of date there', async t => {
  const { say, add, sent, take } = setUp()
  add('STATUS', 'zero')
  t.same(sent, ['STATUS=zero'], 'by itself where nothing waits')
  say(['RELOADING', '1'])
  add('STATUS', 'one')
  add('WATCHDOG', '1')
  add('STATUS', 'two')
  say(['READY', '1'], ['STATUS', 'three'])
  add('STATUS', 'four')
  for (const _ of [1, 2, 3]) take()
  t.same(sent.slice(1), ['RELOADING=1 STATUS=two WATCHDOG=1', 'READY=1 STATUS=four'])
})

t.test('a message that fails is told with its words, and the next one is sent', async t => {
  const { say, sent, errors, take } = setUp()
  say(['READY', '1'])
  say(['STOPPING', '1'])
  take(new Error('no such tool'))
  t.same(errors, [['no such tool', ['READY=1']]])
  t.same(sent, ['READY=1', 'STOPPING=1'])
  take()
  t.equal(errors.length, 1)
})
