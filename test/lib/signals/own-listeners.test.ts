import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import t, { type Test } from 'tap'
import { createOwnListeners } from '../../../lib/signals/own-listeners.js'
import { echoTime, isOurs, ours } from '../../../lib/signals/signal-listeners.js'

const signal = 'SIGILL' // close-with-grace takes it, and nobody else in this process
const number = constants.signals[signal]

/** Follows the signal beside a listener of ours; nothing is left of it when the test ends. */
function follow(t: Test, errors = false) {
  const errorsLogged: unknown[] = []
  const note = (fields: unknown) => void errorsLogged.push(fields)
  const log = { info: note, warn: note, error: note, fatal: note } as never
  const own = createOwnListeners()
  const guard = ours(() => {})
  process.on(signal, guard)
  own.follow([signal], errors, log)
  t.teardown(() => {
    own.leave()
    process.removeAllListeners(signal)
  })
  return {
    own,
    errorsLogged,
    theirs: () => process.listeners(signal).filter(listener => !isOurs(listener))
  }
}

/** As the system sends it, but in this very turn. */
const send = () => void (process as NodeJS.EventEmitter).emit(signal, signal, number)

t.test(
  'the application finds its listeners, and can take them off, whatever stands in their place',
  async t => {
    const before = () => calls.push('before')
    const calls: string[] = []
    process.on(signal, before)
    const { own, theirs } = follow(t)
    const [once, twice, first] = ['once', 'twice', 'first'].map(
      name => () => calls.push(name)
    ) as (() => number)[]
    process.once(signal, once!)
    process.on(signal, twice!)
    process.on(signal, twice!)
    process.prependListener(signal, first!)
    await sleep(0)
    t.same(theirs(), [first, before, once, twice, twice])
    send()
    t.same(calls.splice(0), ['first', 'before', 'once', 'twice', 'twice'])
    t.same(theirs(), [first, before, twice, twice])
    process.removeListener(signal, twice!)
    process.off(signal, before)
    send()
    t.same(calls.splice(0), ['first', 'twice'])
    process.once(signal, once!)
    await sleep(0)
    own.leave()
    t.same(theirs(), [first, twice, once])
    send()
    send()
    t.same(calls, ['first', 'twice', 'once', 'first', 'twice'])
  }
)

t.test('close-with-grace is held until it is let go, but for one that has been uninstalled', async t => {
  const calls: unknown[] = []
  const skip = closeWithGraceEvents.filter(event => event !== signal)
  const install = (name: string) => closeWithGrace({ delay: false, skip }, async () => void calls.push(name))
  const { own, theirs } = follow(t)
  const { exit } = process
  t.teardown(() => Object.assign(process, { exit }))
  const exited = new Promise(resolve => Object.assign(process, { exit: resolve }))
  install('stays')
  const { uninstall } = install('goes')
  await sleep(0)
  t.equal(theirs().length, 2)
  send()
  send()
  t.same(calls, [])
  uninstall()
  t.equal(theirs().length, 1)
  own.release()
  t.same(calls, ['stays'])
  await sleep(0)
  t.same(theirs(), [], 'and what a second signal is, is ours to say')
  t.equal(await exited, 0)
})

t.test('nobody else is held, whatever the name', async t => {
  const calls: string[] = []
  const { own } = follow(t)
  process.once(signal, function onSignal() {
    calls.push('at once')
  })
  process.once(signal, function onSignal(signal) {
    run({ signal, code: 0 })
  })
  process.once(signal, signal => run({ signal }))
  await sleep(0)
  send()
  t.same(calls, ['at once', 'run', 'run'])
  own.release()

  function run(_given: object): void {
    calls.push('run')
  }
})

t.test("close-with-grace's listener for errors is held, and nobody's else", async t => {
  const calls: unknown[] = []
  const { own } = follow(t, true)
  const other = () => void calls.push('other')
  const run = (given: object) => void calls.push(given)
  function onError(err: Error) {
    run({ err })
  }
  process.on('uncaughtException', other)
  process.once('uncaughtException', onError)
  t.teardown(() => void process.off('uncaughtException', other))
  await sleep(0)
  for (const listener of process.rawListeners('uncaughtException').slice(-2)) listener('an error', 'origin')
  t.same(calls, ['other'])
  own.release()
  t.same(calls, ['other', { err: 'an error' }])
})

t.test(
  'a signal that comes again is their own when something has just ended, and the last word when all has',
  async t => {
    const { own } = follow(t)
    let finish = () => {}
    process.on(signal, () => new Promise<void>(resolve => (finish = resolve)))
    await sleep(0)
    own.somethingEnded()
    t.notOk(own.hasRaised(signal), 'nobody has heard of it')
    send()
    await sleep(2 * echoTime)
    t.notOk(own.hasRaised(signal), 'it is from somebody else')
    const begun = performance.now()
    while (performance.now() - begun < 2 * echoTime) {} // a busy event loop
    finish()
    await sleep(0)
    t.ok(own.hasRaised(signal))
    t.notOk(own.hasRaised('SIGINT'), 'another one is')
    await sleep(2 * echoTime)
    t.notOk(own.hasRaised(signal), 'that is long ago')
    own.allEnded()
    t.ok(own.hasRaised(signal))
  }
)

t.test('they are done when their promises are, or when they have had the last word', async t => {
  const { own } = follow(t)
  await own.done()
  let finish = () => {}
  process.on(signal, () => new Promise<void>(resolve => (finish = resolve)))
  await sleep(0)
  send()
  const done = own.done().then(() => 'done')
  t.equal(await Promise.race([done, sleep(100, 'running')]), 'running')
  finish()
  t.equal(await done, 'done')
  send()
  await sleep(2 * echoTime)
  own.allEnded()
  own.hasRaised(signal)
  await own.done()
})

t.test('told of a signal that nobody has sent, they hear of it once, as of a real one', async t => {
  const { own, errorsLogged } = follow(t)
  const calls: unknown[][] = []
  process.on(signal, () => {
    throw new Error('thrown')
  })
  process.on(signal, async () => {
    throw new Error('rejected')
  })
  process.once(signal, (...args) => void calls.push(args))
  process.on(signal, (...args) => void calls.push(args))
  await sleep(0)
  own.hear(signal)
  t.same(calls, [
    [signal, number],
    [signal, number]
  ])
  await own.done()
  await sleep(0)
  t.match(errorsLogged, [{ err: { message: 'thrown' } }, { err: { message: 'rejected' } }])
  own.hear(signal)
  send()
  t.equal(calls.length, 2)
})

t.test('who has heard of a signal is not told of one that nobody has sent', async t => {
  const { own } = follow(t)
  let calls = 0
  process.on(signal, () => void calls++)
  await sleep(0)
  send()
  own.hear(signal)
  t.equal(calls, 1)
})

t.test(
  'one that throws, or whose promise fails, is logged: as an uncaught error it would end all',
  async t => {
    const { own, errorsLogged } = follow(t)
    process.on(signal, () => {
      throw new Error('thrown on purpose')
    })
    process.on(signal, async () => {
      throw new Error('rejected on purpose')
    })
    await sleep(0)
    send()
    await own.done()
    const messages = errorsLogged.map(fields => (fields as { err: Error }).err.message)
    t.same(messages, ['thrown on purpose', 'rejected on purpose'])
  }
)

const closeWithGraceEvents: closeWithGrace.AllEvents[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGSEGV',
  'SIGUSR2',
  'SIGTERM',
  'uncaughtException',
  'unhandledRejection',
  'beforeExit'
]

t.test(
  'all are held back where something is to be closed before, but for one that this takes off',
  async t => {
    const calls: unknown[] = []
    const taken = () => calls.push('taken off')
    const { own, errorsLogged } = follow(t)
    own.holdAll()
    process.on(signal, taken)
    process.once(signal, (...args) => calls.push(args))
    process.on(signal, async () => {
      await sleep(1)
      calls.push('late')
      throw new Error('on purpose')
    })
    await sleep(0)
    send()
    send()
    t.same(calls, [])
    process.off(signal, taken)
    own.release()
    t.same(calls, [[signal, number]], 'as in Node.js, and once')
    await own.done()
    t.same(calls.slice(1), ['late'])
    t.match(errorsLogged, [{ err: { message: 'on purpose' }, signal }])
  }
)
