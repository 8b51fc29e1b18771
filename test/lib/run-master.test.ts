import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ControlledMaster } from '../../lib/control/answers.js'
import type { OpenListener } from '../../lib/listeners/address.js'
import type { Generation } from '../../lib/master/generation.js'
import type { WorkerSettings, WorkerStart } from '../../lib/master/spawn.js'
import { runMaster } from '../../lib/run-master.js'
import { createDeferred } from '../../lib/time/deferred.js'
import { listenToLog, type PlayedGeneration, playGeneration } from '../helper/generation.ts'

interface Options {
  readonly first?: Generation | readonly OpenListener[]
}

/** A running master in a world that the test plays: workers, the control socket, systemd, and the end of the process. */
function setUp(t: Test, { first = [] }: Options = {}) {
  const calls: string[] = []
  const { log, lines } = listenToLog()
  const workers: PlayedGeneration[] = []
  const started: WorkerSettings[] = []
  const starts: WorkerStart[] = []
  const opened = createDeferred<{ path: string; close(): void }>()
  let controlled: ControlledMaster | undefined
  const running = runMaster(
    {
      mode: 'supervised',
      first,
      log,
      options: { readyTimeout: 7, reloadSignal: 'SIGUSR2', controlSocket: '/run/app.sock' },
      standardError: { fd: 2, write() {} },
      context: generation => ({
        command: `node-${generation}`,
        args: [],
        directory: '/srv/app',
        environment: {}
      }),
      stop: () => calls.push('stop')
    },
    {
      env: { NOTIFY_SOCKET: 'played' },
      exit: code => calls.push(`exit ${code}`),
      startWorker(settings, start) {
        started.push(settings)
        starts.push(start)
        const worker = playGeneration(start.number)
        workers.push(worker)
        return worker
      },
      controlMaster(given, path) {
        controlled = given
        calls.push(`control ${path}`)
        return opened.promise
      },
      createNotifier({ NOTIFY_SOCKET }) {
        const say = (what: string) => (text: string) => calls.push(`${NOTIFY_SOCKET}: ${what} ${text}`)
        const note = (what: string) => () => calls.push(`${NOTIFY_SOCKET}: ${what}`)
        return {
          ready: say('ready'),
          reloading: note('reloading'),
          stopping: note('stopping'),
          status: say('status'),
          close: note('close')
        }
      }
    }
  )
  t.teardown(running.leave)
  opened.promise.catch(() => {})
  return { ...running, calls, lines, workers, started, starts, opened, controlled: controlled! }
}

/** As it comes from the system. */
function signal(name: NodeJS.Signals): void {
  process.emit(name, name)
}

t.test('each generation is started by what is to be run then', async t => {
  const { workers, started } = setUp(t)
  workers[0]!.becomeReady()
  await turn()
  signal('SIGUSR2')
  await turn()
  t.match(started, [
    { context: { command: 'node-1' }, readyTimeout: 7 },
    { context: { command: 'node-2' }, readyTimeout: 7 }
  ])
})

t.test('systemd is told of a reload by the signal, and of its end', async t => {
  const { workers, calls } = setUp(t)
  workers[0]!.becomeReady()
  await turn()
  calls.length = 0
  signal('SIGUSR2')
  await turn()
  workers[1]!.becomeReady()
  await turn()
  t.same(calls, [
    'played: reloading',
    'played: status generation 2 is booting',
    'played: ready generation 2 serves (pid 102)'
  ])
})

t.test('a reload by the signal that fails is logged, and ends nothing', async t => {
  const { master, workers, lines, calls } = setUp(t)
  workers[0]!.becomeReady()
  await turn()
  signal('SIGUSR2')
  await turn()
  workers[1]!.end(1)
  await turn()
  t.equal(lines('upgrade failed').length, 1)
  t.equal(master.serving(), workers[0])
  t.notOk(calls.some(call => call.startsWith('exit')))
})

t.test('the control socket is that of this master, and stops what the caller says', async t => {
  const { controlled, master, calls } = setUp(t)
  t.match(await controlled.inquire('status'), { mode: 'supervised', directory: '/srv/app' })
  t.equal(controlled.master, master)
  t.ok(calls.includes('control /run/app.sock'))
  controlled.stop()
  t.equal(calls.at(-1), 'stop')
})

t.test('whoever asks is told the same: the control socket, a worker, this process', async t => {
  const { controlled, inquire, workers, starts } = setUp(t)
  workers[0]!.becomeReady()
  await turn()
  signal('SIGUSR2')
  await turn()
  workers[1]!.becomeReady()
  await turn()
  for (const ask of [inquire, controlled.inquire, ...starts.map(({ onInquire }) => onInquire)]) {
    t.match(await ask('status'), { state: 'serving', upgrades: [{ generation: 2 }, { generation: 1 }] })
    t.match(await ask('metrics'), /^graceful_upgrade_upgrades_total\{result="success"\} 1$/m)
  }
  t.equal(starts.length, 2)
})

t.test('a control socket that can not be opened is the business of the caller', async t => {
  const { control, opened, leave } = setUp(t)
  opened.reject(new Error('in use'))
  await t.rejects(control, { message: 'in use' })
  leave()
  await turn() // and nothing is uncaught
})

t.test('the process ends with the code of the first generation, if that fails', async t => {
  const { workers, calls } = setUp(t)
  workers[0]!.end(3)
  await turn()
  t.equal(calls.at(-1), 'exit 3')
})

t.test('after leave() nothing is left of it: no listener, no socket, no word to systemd', async t => {
  const before = process.listenerCount('SIGUSR2')
  const first = playGeneration(1, { isHere: true })
  const { calls, opened, leave, workers } = setUp(t, { first })
  t.equal(process.listenerCount('SIGUSR2'), before + 1)
  first.becomeReady()
  await turn()
  t.same(calls, ['control /run/app.sock', 'played: ready generation 1 serves (pid 101)'])
  leave()
  opened.resolve({ path: '/run/app.sock', close: () => calls.push('socket closed') })
  await turn()
  t.equal(process.listenerCount('SIGUSR2'), before)
  t.same(calls.slice(2), ['played: close', 'socket closed'])
  t.equal(workers.length, 0)
})
