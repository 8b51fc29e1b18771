import t, { type Test } from 'tap'
import { createNotifier } from '../../../lib/systemd/notify.js'

/** A notifier, and systemd: what it is told, one message each. */
function setUp(t: Test, env: NodeJS.ProcessEnv = {}, error?: Error) {
  const told: string[] = []
  const warnings: unknown[] = []
  let heard: () => void = () => {}
  let environment: NodeJS.ProcessEnv | undefined
  const log = { warn: (...line: unknown[]) => void warnings.push(line) }
  const notifier = createNotifier({ NOTIFY_SOCKET: '/run/x', ...env }, log as any, given => {
    environment = given
    return (assignments, done) => {
      told.push(assignments.join(' '))
      process.nextTick(done, error)
      heard()
    }
  })
  t.teardown(() => notifier.close())
  return { notifier, told, warnings, environment: () => environment, untilTold }

  async function untilTold(count: number): Promise<void> {
    const alive = setInterval(() => {}, 1_000) // the watchdog keeps no process alive
    while (told.length < count)
      await new Promise<void>(resolve => {
        heard = resolve
      })
    clearInterval(alive)
  }
}

t.test('without NOTIFY_SOCKET nothing is told, and there is no timer', async t => {
  for (const NOTIFY_SOCKET of [undefined, '']) {
    const { notifier, told } = setUp(t, { NOTIFY_SOCKET, WATCHDOG_USEC: '10000' })
    const before = process.getActiveResourcesInfo().sort()
    notifier.ready('up')
    notifier.reloading()
    notifier.status('busy')
    notifier.stopping(41_000)
    t.same(process.getActiveResourcesInfo().sort(), before)
    t.same(told, [])
  }
})

t.test('each state of a service is told, with what is shown of it', async t => {
  const { notifier, told, untilTold, environment } = setUp(t, { PATH: '/bin', SECRET: 'x' })
  notifier.ready('one')
  notifier.reloading()
  notifier.status('two')
  notifier.ready('three')
  notifier.stopping(41_000)
  await untilTold(4)
  t.equal(told.length, 4)
  t.match(told, [
    'READY=1 STATUS=one',
    /^RELOADING=1 MONOTONIC_USEC=\d+ STATUS=two$/,
    'READY=1 STATUS=three',
    'STOPPING=1 EXTEND_TIMEOUT_USEC=41000000'
  ])
  t.same(environment(), { PATH: '/bin', NOTIFY_SOCKET: '/run/x' }, 'by what gets little of our environment')
})

t.test('a status is one line, and not longer than systemd reads', async t => {
  const { notifier, told, untilTold } = setUp(t)
  notifier.status('one\r\ntwo\tthree\0four\nREADY=1')
  t.same(told, ['STATUS=one two three four READY=1'])
  notifier.ready('€'.repeat(5_000))
  await untilTold(2)
  t.ok(Buffer.byteLength(told[1]!) < 4_096)
})

t.test('what could not be told is one warning', async t => {
  const { notifier, warnings, untilTold } = setUp(t, {}, new Error('no'))
  notifier.ready('one')
  notifier.reloading()
  notifier.stopping(41_000)
  await untilTold(3)
  const warning = { err: { message: 'no' }, message: ['READY=1', 'STATUS=one'] }
  t.match(warnings[0], [warning, 'systemd could not be notified'])
  t.equal(warnings.length, 1)
})

/** As long as it takes a watchdog of a millisecond to be told some times. */
function fiveTicks(): Promise<void> {
  let ticks = 0
  return new Promise(resolve => {
    const timer = setInterval(() => {
      if (++ticks < 5) return
      clearInterval(timer)
      resolve()
    }, 1)
  })
}

t.test('the watchdog is told from the first ready() until close()', async t => {
  const WATCHDOG_PID = String(process.pid)
  const { notifier, told, untilTold } = setUp(t, { WATCHDOG_USEC: '2000', WATCHDOG_PID })
  notifier.status('booting')
  await fiveTicks()
  t.same(told, ['STATUS=booting'])
  notifier.ready('up')
  notifier.ready('still up')
  await untilTold(5)
  t.same(told.slice(1, 5), ['READY=1 STATUS=up', 'READY=1 STATUS=still up', 'WATCHDOG=1', 'WATCHDOG=1'])
  notifier.close()
  const { length } = told
  await fiveTicks()
  t.equal(told.length, length)
})

t.test('a watchdog of another process, or none, is not told', async t => {
  for (const env of [
    { WATCHDOG_USEC: '2000', WATCHDOG_PID: '1' },
    { WATCHDOG_USEC: '0' },
    { WATCHDOG_USEC: 'x' }
  ]) {
    const { notifier, told } = setUp(t, env)
    notifier.ready('up')
    await fiveTicks()
    t.same(told, ['READY=1 STATUS=up'])
  }
})
