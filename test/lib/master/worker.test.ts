/** A master's side of a worker; the test plays the child process. */
import type { ChildProcess } from 'node:child_process'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { OfferAnswer } from '../../../lib/handover/offer.js'
import type { RawHandle } from '../../../lib/internals/raw-handle.js'
import type { Log } from '../../../lib/log.js'
import type { WorkerStart } from '../../../lib/master/spawn.js'
import { startWorker } from '../../../lib/master/worker.js'
import { PlayedChild, PlayedHandle } from '../../helper/played-end.ts'
import { stopTimers } from '../../helper/timers.ts'

const listener = { key: 'tcp::3000', bound: '0.0.0.0:3000' }
const offer = { listener, idleTime: 4_000 }
const report = { refused: 0, longestPause: 3, kinds: {} }
const ready = { type: 'ready', unclaimed: [], endTimeout: 5_000 }

const pass = stopTimers(t)

function setUp(given: Partial<WorkerStart> = {}, child = new PlayedChild()) {
  const lines: { msg: string; [key: string]: unknown }[] = []
  const write = (line: object, msg: string) => void lines.push({ ...line, msg })
  const log = { info: write, warn: write, error: write, fatal: write } as unknown as Log
  const context = { command: 'node', args: ['server.js'], directory: '/', environment: {} }
  const generation = startWorker(
    { context, log, standardError: { fd: 2, write() {} }, readyTimeout: 60_000 },
    {
      number: 2,
      listeners: [],
      succeeds: 'worker',
      onUpgrade: () => Promise.reject(new Error('nobody may ask')),
      onJudge: () => Promise.reject(new Error('nobody may judge')),
      onInquire: () => Promise.reject(new Error('nobody may ask')),
      onOffer: () => Promise.reject(new Error('nobody may offer')),
      ...given
    },
    () => child as unknown as ChildProcess
  )
  return {
    child,
    generation,
    lines: (msg: string) => lines.filter(line => line.msg === msg),
    settled: (promise: Promise<unknown>) => Promise.race([promise, turn('not yet')]),
    /** It listens, is ready, and serves. */
    serve() {
      child.say({ type: 'listener', listener, endTimeout: 5_000 }, new PlayedHandle(11))
      child.say(ready)
      generation.serve([])
    }
  }
}

/** What keeps a worker from being ready. */
async function failure(generation: { ready: Promise<unknown> }): Promise<GracefulUpgradeError> {
  return generation.ready.then(
    () => Promise.reject(new Error('it is ready')),
    error => error
  )
}

t.test('a worker is ready when it says so, with what nobody has claimed', async t => {
  const { child, generation, lines, settled } = setUp()
  t.match(generation.processes(), [{ worker: 0, pid: 4_711, state: 'booting' }])
  t.same(lines('generation spawned'), [{ generation: 2, generationPid: 4_711, msg: 'generation spawned' }])
  t.equal(await settled(generation.ready), 'not yet')
  child.say({ ...ready, unclaimed: ['unix:/run/app.sock'] })
  t.same(await generation.ready, ['unix:/run/app.sock'])
  await pass(60_000)
  t.same(child.kills, [], 'its time is over, and it serves')
})

t.test('a worker that is not ready in time has failed, and is told what may be missing', async t => {
  const silent = setUp()
  silent.child.stderr.write('connecting to the database\n')
  await pass(60_000)
  const { code, message, lastWords } = await failure(silent.generation)
  t.equal(code, 'GRACEFUL_UPGRADE_READY_TIMEOUT')
  t.match(message, /generation 2 \(pid 4711\) took longer than readyTimeout \(60000 ms\), and nothing of it/)
  t.equal(lastWords, 'connecting to the database')
})

t.test('one that does not pass its check has failed for that, and whoever waits hears of it', async t => {
  const told: unknown[] = []
  const onUnchecked = (...words: unknown[]) => void told.push(words)
  const silent = setUp({ onUnchecked })
  const down = setUp({ onUnchecked, place: { worker: 1, workers: 2 } })
  for (const { child } of [silent, down]) child.say({ type: 'asks', request: 'GET /health' })
  const check = { request: 'GET /health', outcome: 'answered 503', body: 'no database' }
  down.child.say({ type: 'unchecked', failure: check })
  t.same(told, [[1, check]])
  await pass(60_000)
  t.match(await failure(silent.generation), {
    code: 'GRACEFUL_UPGRADE_CHECK_FAILED',
    message: /generation 2 \(pid 4711\) was given .* and GET \/health has not been answered yet$/
  })
  t.match(await failure(down.generation), {
    code: 'GRACEFUL_UPGRADE_CHECK_FAILED',
    message: /worker 1 of generation 2 \(pid 4711\) was given .* GET \/health answered 503: no database$/
  })
})

t.test('one that has listened knows how', async t => {
  const { child, generation } = setUp()
  child.say({ type: 'listener', listener, endTimeout: 1 }, new PlayedHandle(11))
  await pass(60_000)
  t.match((await failure(generation)).message, /readyTimeout \(60000 ms\)$/)
})

t.test('a worker that ends before it is ready has failed, with all that it wrote', async t => {
  const { child, generation, settled } = setUp()
  child.emit('exit', 3, null)
  t.same(await generation.ended, { code: 3, signal: null })
  t.equal(await settled(generation.ready), 'not yet', 'its words may come after the news of its end')
  child.stderr.end('Error: no database\n')
  const { code, message, lastWords } = await failure(generation)
  t.equal(code, 'GRACEFUL_UPGRADE_EXITED')
  t.match(message, /generation 2 \(pid 4711\) ended with code 3$/)
  t.equal(lastWords, 'Error: no database')
})

t.test('one that a signal ends, or that ends well without having listened, is told so', async t => {
  const killed = setUp()
  killed.child.end(null, 'SIGKILL')
  t.match((await failure(killed.generation)).message, /ended by SIGKILL$/)
  const well = setUp()
  well.child.end(0)
  t.match((await failure(well.generation)).message, /ended with code 0, and nothing of it has listened: does/)
})

t.test('a worker that could not be started has failed and ended, and there is no line of it', async t => {
  const child = new PlayedChild()
  child.pid = undefined
  child.connected = false
  const { generation, lines } = setUp({}, child)
  const cause = Object.assign(new Error('spawn node EAGAIN'), { code: 'EAGAIN' })
  child.emit('error', cause)
  const { code, message } = await failure(generation)
  t.equal(code, 'GRACEFUL_UPGRADE_SPAWN_FAILED')
  t.match(message, 'node in /: spawn node EAGAIN')
  t.same(await generation.ended, { code: null, signal: null })
  t.same(generation.processes(), [])
  t.same(lines('generation spawned'), [])
})

t.test('a signal that is not allowed is no end', async t => {
  const { child, generation, settled } = setUp()
  child.emit('error', Object.assign(new Error('kill EPERM'), { code: 'EPERM' }))
  t.equal(await settled(generation.ended), 'not yet')
  child.say(ready)
  t.same(await generation.ready, [])
})

t.test('the listeners that it sends are open for the next one, until it takes them back', async t => {
  const { child, generation } = setUp()
  const handles = [new PlayedHandle(11), new PlayedHandle(12)]
  child.say({ type: 'listener', listener }, handles[0])
  child.say({ type: 'listener', listener: { key: 'tcp::3001', bound: '[::]:3001' } }, handles[1])
  t.same(generation.listeners(), [
    { ...listener, fd: 11 },
    { key: 'tcp::3001', bound: '[::]:3001', fd: 12 }
  ])
  child.say({ type: 'unlisten', key: listener.key })
  t.match(generation.listeners(), [{ fd: 12 }])
  generation.release()
  t.same(generation.listeners(), [])
  for (const { isOpen } of handles) t.notOk(isOpen)
})

t.test('a listener whose socket the system has dropped is a failure of the upgrade', async t => {
  const { child, generation, lines } = setUp()
  child.say({ type: 'listener', listener })
  t.match(lines('listener arrived without its socket'), [{ generation: 2, listener }])
  child.say({ ...ready, published: [listener.key] })
  const { code, message } = await failure(generation)
  t.equal(code, 'GRACEFUL_UPGRADE_SPAWN_FAILED')
  t.match(message, /no descriptor left for tcp::3000: raise its limit \(ulimit -n\)/)
})

t.test('an older version does not say what it has sent, and a closing master asks for nothing', async t => {
  const older = setUp()
  older.child.say({ type: 'listener', listener })
  older.child.say(ready)
  t.same(await older.generation.ready, [])
  const closing = setUp()
  closing.generation.release()
  closing.child.say({ type: 'listener', listener, endTimeout: 1 })
  closing.child.say({ ...ready, published: [listener.key] })
  t.same(await closing.generation.ready, [])
  t.same(closing.lines('listener arrived without its socket'), [])
})

t.test("what a later version says is logged by its type; the application's own messages are not", async t => {
  const { child, lines } = setUp()
  child.say({ type: 'greeting', secret: 1 })
  child.say({ type: 'unlisten' })
  child.sayRaw({ type: 'ready' })
  child.sayRaw('ready')
  t.same(lines('unknown message of a worker'), [
    { generation: 2, type: 'greeting', msg: 'unknown message of a worker' },
    { generation: 2, type: 'unlisten', msg: 'unknown message of a worker' }
  ])
})

t.test('each question gets its own answer', async t => {
  const { child, generation } = setUp()
  const connections = [generation.connections(), generation.connections()]
  const ticketKeys = generation.ticketKeys()
  const [one, other] = child.saidOf('count')
  const [reveal] = child.saidOf('reveal')
  const counts = { fresh: 0, idle: 1, active: 2, detached: 3 }
  child.say({ type: 'revealed', id: reveal!.id, ticketKeys: [] })
  child.say({ type: 'counted', id: other!.id, connections: { ...counts, idle: 7 } })
  child.say({ type: 'counted', id: one!.id, connections: counts })
  t.same(await Promise.all(connections), [counts, { ...counts, idle: 7 }])
  t.same(await ticketKeys, [])
})

t.test('a question that is not answered in time has no answer, nor one to a worker that is gone', async t => {
  const { child, generation, settled } = setUp()
  const slow = generation.connections()
  await pass(999)
  t.equal(await settled(slow), 'not yet')
  await pass(1)
  t.equal(await slow, null)
  const asked = [generation.connections(), generation.ticketKeys()]
  child.end(1)
  t.same(await Promise.all(asked), [null, null])
  const before = child.said.length
  t.equal(await generation.connections(), null)
  t.equal(child.said.length, before, 'nobody is asked')
})

t.test('a worker may take two seconds to share its connections', async t => {
  const { child, generation, settled } = setUp()
  const [shared, slow] = [1, 2].map(() => generation.share({ share: 0.2, how: 'close' }))
  const [one] = child.saidOf('share')
  t.match(one, { share: 0.2, how: 'close' })
  await pass(1_999)
  child.say({ type: 'shared', id: one!.id, shared: { wanted: 4, gone: 3 } })
  t.same(await shared, { wanted: 4, gone: 3 })
  t.equal(await settled(slow!), 'not yet')
  await pass(1)
  t.equal(await slow, null)
})

t.test('an offer of the worker is handed on, and its socket closed when it has arrived', async t => {
  let arrive: (answer: OfferAnswer) => void = () => {}
  const offers: [object, RawHandle][] = []
  const { child } = setUp({
    onOffer(...given) {
      offers.push(given)
      return new Promise(resolve => {
        arrive = resolve
      })
    }
  })
  const handle = new PlayedHandle(21)
  child.say({ type: 'offer', id: 9, offer }, handle)
  child.say({ type: 'offered', id: 9 })
  await turn()
  t.same(offers, [[offer, handle]])
  t.ok(handle.isOpen, 'until then this copy is needed')
  t.same(child.said, [])
  arrive('adopted')
  await turn()
  t.notOk(handle.isOpen)
  t.same(child.said, [{ type: 'answer', id: 9, answer: 'adopted' }])
})

t.test('a connection is offered to the worker, which answers, or is gone', async t => {
  const { child, generation } = setUp()
  const handle = new PlayedHandle(21)
  const adopted = generation.adopt(offer, handle)
  t.match(child.said, [
    { type: 'offer', offer },
    { type: 'offered', id: child.said[0]!.id }
  ])
  t.same(child.handles, [handle])
  child.say({ type: 'answer', id: child.said[0]!.id, answer: 'adopted' })
  t.equal(await adopted, 'adopted')
  const left = generation.adopt(offer, handle)
  await turn() // it has taken that
  child.end(null, 'SIGKILL')
  t.equal(await left, 'unavailable')
  t.equal(await generation.adopt(offer, handle), 'unavailable')
  t.ok(handle.isOpen, "it stays the caller's")
})

t.test('the worker may ask for an upgrade, and hears how it went', async t => {
  const result = { generation: 3, pid: 7, ms: 120 }
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'at once', { lastWords: 'SyntaxError' })
  const outcomes = [Promise.resolve(result), Promise.reject(error)]
  const { child } = setUp({ onUpgrade: () => outcomes.shift()! })
  child.say({ type: 'upgrade', id: 5 })
  child.say({ type: 'upgrade', id: 6 })
  await turn()
  const { code, message, lastWords } = error
  t.same(child.said, [
    { type: 'upgraded', id: 5, result },
    { type: 'refused', id: 6, code, message, lastWords }
  ])
})

t.test('the worker may ask what the master knows of the whole service', async t => {
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
  const onInquire = async (about: string) => {
    if (about === 'metrics') throw error
    return { pid: 7 }
  }
  const { child } = setUp({ onInquire })
  child.say({ type: 'inquire', id: 5, about: 'status' })
  child.say({ type: 'inquire', id: 6, about: 'metrics' })
  await turn()
  t.match(child.said, [
    { type: 'informed', id: 5, answer: { pid: 7 } },
    { type: 'refused', id: 6, code: error.code }
  ])
})

t.test('it is asked what its drain waits for, and an older one says nothing of it', async t => {
  const { child, generation } = setUp()
  const [worker] = generation.processes()
  const connections = { fresh: 0, idle: 0, active: 1, detached: 0 }
  const heldUpBy = [{ kind: 'request', method: 'GET', url: '/', ms: 5 }]
  const [told, untold] = [worker!.heldUpBy(), worker!.heldUpBy()]
  t.match(child.said, [{ type: 'count', isNamed: true }, { type: 'count' }])
  child.say({ type: 'counted', id: child.said[0]!.id, connections, heldUpBy })
  child.say({ type: 'counted', id: child.said[1]!.id, connections })
  t.same(await told, heldUpBy)
  t.same(await untold, [])
})

t.test('what the master decides is told in its order', async t => {
  const { child, generation } = setUp()
  const keys = [{ listener, keys: null, sessionIdContext: '', clients: null }]
  generation.serve(keys)
  generation.upgrading(true)
  generation.upgrading(false)
  t.same(child.said, [
    { type: 'ticketKeys', ticketKeys: keys },
    { type: 'serve', dropped: [] },
    { type: 'upgrading', value: true },
    { type: 'upgrading', value: false }
  ])
  generation.serve([])
  t.same(child.types().slice(4), ['serve'], 'no keys, no message of them')
  generation.signal('SIGUSR2')
  t.same(child.kills, ['SIGUSR2'])
})

t.test('a worker retires in its own time, and its report is heard, be it after its end', async t => {
  const { child, generation, serve, settled, lines } = setUp()
  serve()
  const retired = generation.retire()
  t.equal(child.types().at(-1), 'retire')
  await pass(5_999)
  child.emit('exit', 0, null)
  t.equal(await settled(retired), 'not yet')
  child.say({ type: 'drained', report })
  child.hangUp()
  t.same(await retired, { code: 0, signal: null, report })
  await pass(60_000)
  t.same(child.kills, [])
  t.same(lines('generation does not end, killing it'), [])
})

t.test('one whose channel a grandchild holds open is waited for a second', async t => {
  const { child, generation, serve, settled } = setUp()
  serve()
  const retired = generation.retire()
  child.emit('exit', 1, null)
  await pass(999)
  t.equal(await settled(retired), 'not yet')
  await pass(1)
  t.same(await retired, { code: 1, signal: null, report: null })
})

t.test('a worker that does not end in the time that it asked for, and one second, is killed', async t => {
  for (const way of ['retire', 'close'] as const) {
    const { child, generation, serve, lines } = setUp()
    serve()
    const ended = way === 'retire' ? generation.retire() : generation.close('SIGTERM')
    await pass(5_999)
    t.same(child.kills, [], way)
    await pass(1)
    t.same(child.kills, ['SIGKILL'], way)
    t.match(lines('generation does not end, killing it'), [
      { generation: 2, generationPid: 4_711, ms: 6_000 }
    ])
    child.end(null, 'SIGKILL')
    t.match(await ended, { code: null, signal: 'SIGKILL' }, way)
  }
})

t.test('a worker of which nothing listens is ended at once, and any other one gracefully', async t => {
  const booting = setUp()
  const killed = booting.generation.close('SIGTERM')
  t.same(booting.child.kills, ['SIGKILL'])
  t.same(booting.child.said, [])
  booting.child.end(null, 'SIGKILL')
  t.same(await killed, { code: null, signal: 'SIGKILL' })

  const listening = setUp()
  listening.child.say({ type: 'listener', listener, endTimeout: 100 }, new PlayedHandle(11))
  const closed = listening.generation.close('SIGTERM')
  t.same(listening.child.said, [{ type: 'close', signal: 'SIGTERM' }])
  listening.child.end(0)
  t.same(await closed, { code: 0, signal: null })
  t.same(listening.child.kills, [])
})

t.test('an uncaught error of a worker is known before its end', async t => {
  const { child, generation, serve, settled } = setUp()
  serve()
  t.equal(await settled(generation.dying), 'not yet')
  child.say({ type: 'dying' })
  await generation.dying
  t.equal(await settled(generation.ended), 'not yet')
})

t.test(
  'one that serves on for closeDelay has more time, and is hurried once, by a second message',
  async t => {
    const { child, generation, lines } = setUp()
    t.equal(generation.endTimeout, 0, 'nothing of it listens')
    child.say({ ...ready, closeDelay: 3_000 })
    t.equal(generation.endTimeout, 6_000)
    generation.serve([])
    t.notOk(generation.hurry(), 'it does not close')
    void generation.close('SIGTERM')
    t.match(generation.processes(), [{ state: 'closing' }])
    t.match(lines('serving on for closeDelay, a second signal skips it'), [
      { generation: 2, closeDelay: 3_000 }
    ])
    t.ok(generation.hurry())
    t.notOk(generation.hurry())
    t.same(child.saidOf('close'), [
      { type: 'close', signal: 'SIGTERM' },
      { type: 'close', signal: null }
    ])
    t.match(generation.processes(), [{ state: 'draining' }])
    child.end(0)
  }
)

t.test('one that drains is not hurried, whether it says so or has been told to', async t => {
  const says = setUp()
  says.child.say({ ...ready, closeDelay: 3_000 })
  void says.generation.close('SIGTERM')
  says.child.say({ type: 'draining' })
  t.notOk(says.generation.hurry())
  const crashed = setUp()
  crashed.child.say({ ...ready, closeDelay: 3_000 })
  crashed.child.say({ type: 'draining' })
  void crashed.generation.close('SIGTERM')
  t.notOk(crashed.generation.hurry())
  const retired = setUp()
  retired.child.say({ ...ready, closeDelay: 3_000 })
  void retired.generation.retire()
  void retired.generation.close('SIGTERM')
  t.notOk(retired.generation.hurry())
  const older = setUp()
  older.child.say(ready)
  void older.generation.close('SIGTERM')
  t.notOk(older.generation.hurry())
  for (const { child } of [says, crashed, retired, older]) child.end(0)
})

t.test('it logs lines of the master while it is there, if it says that it does', async t => {
  const line = { level: 'info', fields: { generation: 3 }, text: 'generation spawned' } as const
  const older = setUp()
  older.serve()
  t.equal(older.generation.log?.(line), undefined)
  t.notMatch(older.child.said, [{ type: 'log' }])

  const { child, generation } = setUp()
  t.equal(generation.log?.(line), undefined, 'not before it is ready')
  child.say({ ...ready, logs: true })
  const logged = generation.log?.(line)
  const { id } = child.said.at(-1)!
  t.same(child.said.at(-1), { type: 'log', id, ...line })
  child.say({ type: 'logged', id })
  t.equal(await logged, true)
  const late = generation.log?.(line)
  await pass(1_000)
  t.equal(await late, false, 'it hangs')
  child.emit('exit', 1, null)
  await generation.ended
  t.equal(generation.log?.(line), undefined, 'its channel is open yet')
})
