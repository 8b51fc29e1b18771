import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { watchReadiness } from '../../../lib/process/readiness.js'
import { playApplication, playInstance, playListeners } from '../../helper/play/process.ts'

function play(claimTimeout = 100_000) {
  const { application, instances } = playApplication({ claimTimeout })
  const { listeners, unclaimed } = playListeners()
  const { ready, check, declare } = watchReadiness(application, listeners)
  t.teardown(declare) // else its timer goes on
  const isReady = () => Promise.race([ready.then(() => true), turn(false)])
  const add = (state: 'starting' | 'serving' | 'closed', booted = true) => {
    const instance = { ...playInstance('app', []).instance, state, booted }
    instances.add(instance)
    return instance
  }
  return { listeners, unclaimed, ready, check, declare, isReady, add }
}

const inherited = { key: 'a', bound: 'a', fd: 9 }

t.test('ready is who listens, and has all that was inherited', async t => {
  const { listeners, unclaimed, isReady, add, ready } = play()
  unclaimed.push(inherited)
  add('serving')
  listeners.emit('listening', {} as never)
  t.notOk(await isReady())
  unclaimed.pop()
  listeners.emit('claimed')
  t.ok(await isReady())
  t.same(await ready, [])
})

t.test('not who boots yet, nor who has nothing that serves', async t => {
  const { check, isReady, add } = play(0)
  check()
  t.notOk(await isReady())
  add('closed')
  check()
  t.notOk(await isReady())
  add('serving', false)
  check()
  t.notOk(await isReady(), 'whatever claimTimeout is')
})

t.test('an instance that does not listen is waited for until claimTimeout', async t => {
  const [patient, impatient] = [play(), play(0)]
  for (const { add, check, unclaimed } of [patient, impatient]) {
    unclaimed.push(inherited)
    add('serving')
    add('starting')
    check()
  }
  t.same(await impatient.ready, ['a'], 'what nobody asked for is told')
  t.notOk(await patient.isReady())
})

t.test('the application can say so itself', async t => {
  const { declare, ready, listeners, unclaimed } = play()
  unclaimed.push(inherited)
  declare()
  t.same(await ready, ['a'])
  t.equal(listeners.listenerCount('listening') + listeners.listenerCount('claimed'), 0)
})

t.test('what another worker wants is not waited for', async t => {
  const { unclaimed, check, isReady, add, ready } = play()
  unclaimed.push({ ...inherited, isOptional: true })
  add('serving')
  check()
  t.ok(await isReady())
  t.same(await ready, ['a'], 'but told as what was not asked for')
})
