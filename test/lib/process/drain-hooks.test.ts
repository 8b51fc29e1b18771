import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createDrainHooks } from '../../../lib/process/drain-hooks.js'
import { playLog } from '../../helper/play/log.ts'

function play() {
  const { log, lines } = playLog()
  const drain = new AbortController()
  const hooks = createDrainHooks(drain.signal, () => false, log)
  const isDone = (run: Promise<unknown>) => Promise.race([run.then(() => true), turn(false)])
  return { hooks, lines, drain, isDone }
}

t.test('all hooks are waited for; one that fails is logged, and keeps nobody', async t => {
  const { hooks, lines, isDone } = play()
  const calls: string[] = []
  let goOn = () => {}
  hooks.add(() => {
    throw new Error('on purpose')
  })
  hooks.add(reason => {
    calls.push(reason)
    return new Promise<void>(resolve => {
      goOn = resolve
    })
  })
  const run = hooks.run('upgrade')
  t.notOk(await isDone(run))
  t.same(calls, ['upgrade'])
  goOn()
  t.ok(await isDone(run))
  t.same(lines, ['error: an onDrain hook failed'])
})

t.test('the same function may be added twice, and is taken off once', t => {
  const { hooks } = play()
  let calls = 0
  const hook = () => void calls++
  hooks.add(hook)
  const takeOff = hooks.add(hook)
  takeOff()
  takeOff()
  void hooks.run('close')
  t.equal(calls, 1)
  t.end()
})

t.test('one that comes when the drain has begun runs at once, with its reason', t => {
  const { hooks, drain } = play()
  const calls: string[] = []
  drain.abort('upgrade')
  hooks.add(reason => void calls.push(reason))()
  t.same(calls, ['upgrade'])
  t.end()
})

t.test('only the hook that closes is not waited for', async t => {
  const { hooks, isDone } = play()
  const never = new Promise(() => {})
  hooks.add(() => {
    hooks.closeCalled()
    return never
  })
  const run = hooks.run('close')
  hooks.closeCalled()
  t.ok(await isDone(run))
  const other = play()
  other.hooks.add(() => never)
  const waits = other.hooks.run('close')
  other.hooks.closeCalled()
  t.notOk(await other.isDone(waits), 'somebody else has called it')
})
