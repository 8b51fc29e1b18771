import { EventEmitter, once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Relay } from '../../../lib/handover/offer.js'
import type { ResolvedOptions } from '../../../lib/options/given.js'
import { defaultOptions } from '../../../lib/options.js'
import type { Parent } from '../../../lib/process/parent.js'
import { createTeamHere } from '../../../lib/process/team-here.js'
import { createWorkerRole } from '../../../lib/process/worker-role.js'
import type { EndTimes } from '../../../lib/protocol/end-times.js'
import type { Inheritance } from '../../../lib/protocol/inheritance.js'
import { createOwnListeners } from '../../../lib/signals/own-listeners.js'
import { signalSpread } from '../../../lib/signals/signal-listeners.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playHost } from '../../helper/play/host.ts'
import { playApplication, playBeside, playInstance, playListeners } from '../../helper/play/process.ts'
import { stopTimers } from '../../helper/timers.ts'

/** A master that is told what a worker says, and says what the test does. */
function playParent() {
  const said: string[] = []
  const state = { isConnected: true }
  const taken = createDeferred<Relay>()
  const parent = Object.assign(new EventEmitter(), {
    isConnected: () => state.isConnected,
    keepAlive: (value: boolean) => void said.push(`hold ${value}`),
    publish: ({ key }: { key: string }, _handle: unknown, { endTimeout }: EndTimes) =>
      void said.push(`publish ${key} ${endTimeout}`),
    withdraw: ({ key }: { key: string }) => void said.push(`withdraw ${key}`),
    asks: async (request: string) => void said.push(`asks ${request}`),
    unchecked: ({ outcome }: { outcome: string }) => void said.push(`unchecked: ${outcome}`),
    erred: () => void said.push('erred'),
    ready: (unclaimed: readonly string[], published: readonly string[], { endTimeout }: EndTimes) =>
      void said.push(`ready ${unclaimed} ${published} ${endTimeout}`),
    dying: () => void said.push('dying'),
    leaving: () => void said.push('leaving'),
    draining: () => void said.push('draining'),
    drained: async () => void said.push('drained'),
    async upgrade() {
      said.push('upgrade')
      return { generation: 3, pid: 1, ms: 1 }
    },
    judge: async (verdict: string, reason: string) => void said.push(`${verdict}: ${reason}`),
    inquire: async (about: string) => `${about} of the master`,
    offer: async () => 'adopted' as const
  }) as unknown as Parent
  const connect = (take: Relay) => {
    taken.resolve(take)
    return parent
  }
  return { parent, said, state, taken, connect }
}

function play(options: Partial<ResolvedOptions> = {}, given: Partial<Inheritance> = {}) {
  const host = playHost()
  const master = playParent()
  const application = playApplication(options)
  const { listeners, calls: heard, live } = playListeners()
  const ready = createDeferred<readonly string[]>()
  const descriptors: number[] = []
  let isAlone = false
  const gone = new Set<number>()
  const unseen = new Set<number>()
  /** Who listens when the next role takes over. */
  let kept: Record<string, number> = {}
  const beside = playBeside(heard)
  const inheritance: Inheritance = {
    generation: 2,
    listeners: [{ key: 'tcp:127.0.0.1:1', bound: '127.0.0.1:1', fd: 9 }],
    master: 1,
    standardError: 5,
    succeeds: 'worker',
    ...given
  }
  const role = createWorkerRole(
    {
      generation: 2,
      team: createTeamHere(given, {
        pid: host.pid,
        isSibling: pid => !unseen.has(pid),
        isGone: pid => gone.has(pid)
      }),
      servesAlone: () => void master.said.push('alone'),
      application: application.application,
      listeners,
      own: createOwnListeners(host),
      beside,
      context: { directory: '/srv/app' } as never,
      standardError: { fd: 2, write() {}, replace: descriptor => void descriptors.push(descriptor) }
    },
    {
      inheritance,
      ready: ready.promise,
      onAlone() {
        master.said.push(...(isAlone ? ['alone again'] : []))
        isAlone = true
        kept = host.listening()
        return { upgrade: async () => void master.said.push('upgrades itself') } as never
      }
    },
    { host, connect: master.connect as never }
  )
  const { instance } = playInstance('app', [])
  return {
    ...application,
    role,
    host,
    heard,
    listeners,
    live,
    ready,
    descriptors,
    beside,
    said: master.said,
    parent: master.parent,
    take: master.taken.promise,
    isAlone: () => isAlone,
    kept: () => kept,
    gone,
    unseen,
    /** An instance of it listens. */
    listen() {
      application.instances.add(instance)
      role.installSignals()
    },
    serve() {
      master.parent.emit('serve', [])
      this.listen()
    },
    lose() {
      master.state.isConnected = false
      master.parent.emit('lost')
    }
  }
}

const listener = { key: 'a', bound: '127.0.0.1:1', server: new EventEmitter() } as never
const listening = { SIGHUP: 1, newListener: 2, removeListener: 1 }
const full = { ...listening, SIGTERM: 1, SIGINT: 1, uncaughtException: 1, unhandledRejection: 1 }

t.test('it says what it listens on, and that it is ready only when it is', async t => {
  const { listeners, live, said, ready } = play()
  live.push(listener)
  listeners.emit('listening', listener)
  t.same(said, ['publish a 7'])
  ready.resolve(['b'])
  await turn()
  t.same(said, ['publish a 7', 'ready b a 7'])
  listeners.emit('stopped', listener)
  t.equal(said.at(-1), 'withdraw a')
})

/** An instance that asks itself, and is answered so. */
function addChecked({ instances }: ReturnType<typeof play>, answer: { statusCode: number; body: string }) {
  const options = { ...defaultOptions, check: '/health' }
  instances.add(playInstance('app', [], { app: { inject: async () => answer } as never, options }).instance)
}

t.test('what does not pass its check is not ready, and the master and the log know why', async t => {
  const worker = play()
  addChecked(worker, { statusCode: 503, body: 'down' })
  worker.ready.resolve([])
  await turn()
  t.same(worker.said, ['asks GET /health', 'unchecked: answered 503'])
  t.same(worker.lines, ['warn: check failed'])
  const well = play()
  addChecked(well, { statusCode: 200, body: '' })
  well.ready.resolve([])
  await turn()
  t.same(well.said, ['asks GET /health', 'ready   7'])
})

t.test('whose master is lost serves without it', async t => {
  const pass = stopTimers(t)
  const worker = play({}, { succeeds: 'master' })
  const answer = { statusCode: 503, body: 'down' }
  addChecked(worker, answer)
  worker.ready.resolve([])
  await turn()
  worker.lose()
  t.ok(worker.isAlone())
  t.same(worker.heard.slice(0, 2), ['upgrading false', 'serve'])
  answer.statusCode = 200
  await pass(1_000)
  await turn()
  t.notOk(
    worker.said.some(said => said.startsWith('ready')),
    'nobody is there to be told'
  )
})

t.test('what it inherits keeps the process alive until it serves', t => {
  const worker = play()
  worker.listeners.emit('claimed')
  t.same(worker.said, ['hold true'])
  worker.serve()
  t.same(worker.said, ['hold true', 'hold false'])
  const late = play()
  late.serve()
  late.listeners.emit('claimed')
  t.same(late.said, ['hold false', 'hold false'])
  t.end()
})

t.test('it accepts when it is told to serve, and drops what it does not want', async t => {
  const { parent, heard, ready } = play()
  parent.emit('serve', [])
  t.same(heard, ['serve'])
  ready.resolve([])
  await turn()
  t.same(heard, ['serve', 'dropUnclaimed'])
})

t.test('only while it serves it asks for upgrades', async t => {
  const worker = play()
  const refusal = { code: 'GRACEFUL_UPGRADE_NOT_SERVING' }
  await t.rejects(worker.role.upgrade(), refusal)
  worker.serve()
  t.match(await worker.role.upgrade(), { generation: 3 })
  worker.parent.emit('retire', false)
  await t.rejects(worker.role.upgrade(), refusal)
})

t.test('that an upgrade is under way is for the listeners to know', t => {
  const { parent, heard } = play()
  parent.emit('upgrading', true)
  parent.emit('upgrading', false)
  t.same(heard, ['upgrading true', 'upgrading false'])
  t.end()
})

t.test('SIGHUP is a wish for an upgrade from the start on, and at no moment the end', async t => {
  const worker = play()
  worker.host.emit('SIGHUP')
  await turn()
  t.same(worker.said, ['upgrade'])
  worker.serve()
  t.equal(worker.host.rawListeners('SIGHUP').length, 1)
  worker.host.emit('SIGHUP')
  await turn()
  t.same(worker.said, ['upgrade', 'hold false', 'upgrade'])
  t.notOk(worker.host.gaps.has('SIGHUP'))
  t.same(worker.lines, [], 'and nobody is warned of our own listener')
})

t.test('while it boots, SIGHUP that is not the reload signal changes nothing', async t => {
  const { host, said } = play({ reloadSignal: 'SIGUSR2' })
  host.emit('SIGHUP')
  await turn()
  t.same(said, [])
})

t.test('who has inherited leaves all other signals to Node.js until it serves', t => {
  const worker = play()
  worker.listen()
  t.same(worker.host.listening(), { SIGHUP: 1 })
  worker.serve()
  t.same(worker.host.listening(), full)
  worker.role.removeSignals()
  t.same(worker.host.listening(), {})
  worker.listen()
  t.same(worker.host.listening(), full, 'once more with the next instance')
  t.end()
})

t.test('who has inherited nothing may have clients: it closes on signals, but not on errors', async t => {
  const worker = play({}, { listeners: [], succeeds: 'none' })
  t.same(worker.host.listening(), { SIGHUP: 1 })
  worker.listen()
  t.same(worker.host.listening(), { SIGHUP: 1, newListener: 1, removeListener: 1, SIGTERM: 1, SIGINT: 1 })
  worker.serve()
  t.same(worker.host.listening(), full)
  t.notOk(worker.host.gaps.has('SIGTERM'))
  worker.host.emit('SIGTERM', 'SIGTERM')
  t.same(worker.calls, ['end: close'])
  worker.ended.resolve(1)
  t.equal(await worker.host.exited, 1)
})

t.test('closeSignals: false listens only beside the application', t => {
  const worker = play({ closeSignals: false })
  worker.serve()
  t.equal(worker.host.rawListeners('SIGTERM').length, 0)
  const own = () => {}
  worker.host.on('SIGTERM', own)
  t.equal(worker.host.rawListeners('SIGTERM').length, 2)
  worker.host.emit('SIGTERM', 'SIGTERM')
  t.same(worker.calls, [], 'which closes by itself')
  worker.role.removeSignals()
  worker.host.on('SIGINT', own)
  t.same(worker.host.rawListeners('SIGTERM'), [own])
  t.same(worker.host.rawListeners('SIGINT'), [own])
  t.end()
})

t.test('asked to close with nothing in it, it exits; with something, it ends that first', async t => {
  const empty = play()
  empty.parent.emit('close', 'SIGTERM')
  t.same(empty.host.asked, ['exit 0'])
  const booting = play()
  booting.listen()
  booting.parent.emit('close', 'SIGTERM')
  t.same(booting.calls, ['end: close'])
  t.same(booting.host.asked, [])
  booting.ended.resolve(1)
  t.equal(await booting.host.exited, 1)
})

t.test(
  'asked to close while it serves, it closes, and what the application listens for hears of it',
  async t => {
    const worker = play()
    const told: string[] = []
    worker.serve()
    worker.host.on('SIGTERM', (signal: string) => void told.push(signal))
    await turn()
    worker.parent.emit('close', null)
    t.same(worker.calls, ['end: close'])
    t.same(told, ['SIGTERM'])
    worker.ended.resolve(0)
    t.equal(await worker.host.exited, 0)
  }
)

t.test(
  'a listener in front of ours that takes itself off, as that of once(), keeps nobody from closing',
  async t => {
    const worker = play({}, { listeners: [], succeeds: 'none' })
    const told: string[] = []
    const once = (signal: string) => {
      worker.host.off('SIGTERM', once)
      told.push(signal)
    }
    worker.listen()
    worker.host.on('SIGTERM', once)
    await turn()
    worker.serve() // ours is another one from now on, behind the application's
    worker.host.emit('SIGTERM', 'SIGTERM')
    t.same(told, ['SIGTERM'])
    t.same(worker.calls, ['end: close'])
  }
)

t.test('a signal that the master passes on counts once, if it came by itself too', async t => {
  const [passedOn, both] = [play(), play()]
  const told: string[] = []
  for (const worker of [passedOn, both]) {
    worker.serve()
    worker.host.on('SIGINT', (signal: string) => void told.push(signal))
  }
  await turn()
  both.parent.emit('close', 'SIGINT')
  both.host.emit('SIGINT', 'SIGINT')
  t.same(told, ['SIGINT'])
  passedOn.parent.emit('close', 'SIGINT')
  t.same(passedOn.calls, [], 'it may come yet')
  await new Promise(resolve => setTimeout(resolve, 2 * signalSpread))
  t.same(passedOn.calls, ['end: close'])
  t.same(told, ['SIGINT', 'SIGINT'])
})

t.test('where nobody listens, a signal that is passed on has its default action', async t => {
  const worker = play({ closeSignals: false })
  worker.serve()
  worker.parent.emit('close', 'SIGTERM')
  await new Promise(resolve => setTimeout(resolve, 2 * signalSpread))
  t.same(worker.host.asked, ['kill 100 SIGTERM'])
})

t.test('it shares its connections only while it serves, and where they may be handed over', async t => {
  const nothing = { wanted: 0, gone: 0 }
  const [booting, leaving, unwilling] = [play(), play(), play({ handover: false })]
  leaving.serve()
  leaving.application.ending = true
  unwilling.serve()
  for (const { parent } of [booting, leaving, unwilling]) {
    const { promise, resolve } = createDeferred<object>()
    parent.emit('share', { share: 0.5, how: 'move' }, resolve)
    t.same(await Promise.race([promise, turn('not yet')]), nothing)
  }
  const serving = play()
  serving.serve()
  const { promise, resolve } = createDeferred<object>()
  serving.parent.emit('share', { share: 0.5, how: 'move' }, resolve)
  t.equal(await Promise.race([promise, turn('not yet')]), 'not yet', 'it looks who is busy')
})

t.test('it retires: it drains, tells the application and its master, and exits', async t => {
  const worker = play()
  const told: string[] = []
  worker.serve()
  worker.host.on('SIGTERM', (signal: string) => void told.push(signal))
  await turn()
  worker.parent.emit('retire', false)
  t.same(worker.calls, ['end: upgrade'])
  t.same(told, [])
  await worker.drained()
  t.same(told, ['SIGTERM'])
  t.equal(worker.said.at(-1), 'drained')
  t.same(worker.host.asked, [])
  worker.ended.resolve(0)
  t.equal(await worker.host.exited, 0)
})

t.test('the application is not told of a signal that it has had, nor with retireSignal: false', async t => {
  const [had, unwanted] = [play({ closeSignals: false }), play({ retireSignal: false })]
  const told: string[] = []
  for (const worker of [had, unwanted]) {
    worker.serve()
    worker.host.on('SIGTERM', () => void told.push('SIGTERM'))
  }
  await turn()
  had.host.emit('SIGTERM', 'SIGTERM')
  for (const worker of [had, unwanted]) {
    worker.parent.emit('retire', false)
    await worker.drained()
  }
  t.same(told, ['SIGTERM'])
})

t.test(
  'it crashes: the master knows at once, its socket stays, and it drains into who comes next',
  async t => {
    const worker = play()
    worker.serve()
    worker.host.emit('uncaughtException', new Error('on purpose'))
    t.same(worker.said.slice(-2), ['dying', 'draining'])
    t.same(worker.calls, ['end: upgrade'])
    worker.listeners.emit('stopped', listener)
    t.notOk(worker.said.includes('withdraw a'))
    worker.ended.resolve(0)
    t.equal(await worker.host.exited, 1)
  }
)

t.test('whoever asks, one that has crashed exits with code 1', async t => {
  const worker = play()
  worker.serve()
  worker.host.emit('uncaughtException', new Error('on purpose'))
  worker.parent.emit('retire', false)
  worker.ended.resolve(0)
  await worker.host.exited
  await turn()
  t.same(new Set(worker.host.asked), new Set(['exit 1']))
})

t.test('asked to close when it has crashed, it knows that nobody follows', t => {
  const worker = play()
  worker.serve()
  worker.host.emit('uncaughtException', new Error('on purpose'))
  worker.parent.emit('close', null)
  t.same(worker.calls, ['end: upgrade', 'end: close'])
  t.end()
})

t.test('without its master, it goes on alone if it serves', async t => {
  const worker = play()
  worker.serve()
  worker.lose()
  t.ok(worker.isAlone())
  t.same(worker.heard, ['serve', 'upgrading false'])
  t.same(worker.descriptors, [5])
  t.same(worker.host.listening(), {}, 'what comes then is not the worker’s')
  t.match(worker.lines.at(-1), /^warn: master lost/)
  t.same(worker.host.asked, [])
})

t.test('without its master, one that boots ends if another worker serves, else it serves', t => {
  const successor = play()
  successor.lose()
  t.same(successor.host.asked, ['exit 1'])
  t.notOk(successor.isAlone())
  const only = play({}, { succeeds: 'master' })
  only.lose()
  t.same(only.heard, ['upgrading false', 'serve'])
  t.ok(only.isAlone())
  t.same(only.host.asked, [])
  t.same(only.host.listening(), {})
  t.end()
})

t.test(
  'without its master, one that is on its way out ends as it would, and nobody follows a crashed one',
  t => {
    const retiring = play()
    retiring.serve()
    retiring.parent.emit('retire', false)
    retiring.lose()
    t.notOk(retiring.isAlone())
    t.same(retiring.calls, ['end: upgrade'])
    const crashed = play()
    crashed.serve()
    crashed.host.emit('uncaughtException', new Error('on purpose'))
    crashed.lose()
    t.notOk(crashed.isAlone())
    t.same(crashed.calls, ['end: upgrade', 'end: close'])
    t.end()
  }
)

t.test(
  'a connection for a listener that it has not is refused, and the next one may take it when it ends',
  async t => {
    const worker = play()
    const take = await worker.take
    const handle = Object.assign(new EventEmitter(), { close: () => handle.emit('closed') })
    const offer = { listener: { key: 'b', bound: 'b' }, idleTime: null }
    const answer = async () => {
      const closed = once(handle, 'closed')
      const answered = await take(offer, handle as never)
      await closed
      return answered
    }
    t.equal(await answer(), 'refused')
    worker.application.ending = true
    t.equal(await answer(), 'unavailable')
  }
)

const sibling = { worker: 1, workers: 2 }

t.test('asked to end by a signal, one of several serves until its master says that it can go', async t => {
  const worker = play({}, sibling)
  worker.serve()
  worker.host.emit('SIGTERM', 'SIGTERM')
  await turn()
  t.equal(worker.said.at(-1), 'leaving')
  t.same(worker.calls, [])
  worker.parent.emit('retire', false)
  t.same(worker.calls, ['end: upgrade'])
  worker.ended.resolve(0)
  t.equal(await worker.host.exited, 0)
})

t.test('an error of one that waits for its successor is its first one: it drains', async t => {
  const worker = play({}, sibling)
  worker.serve()
  for (let times = 0; times < 2; times++) worker.host.emit('SIGTERM', 'SIGTERM')
  await turn()
  t.equal(worker.said.filter(word => word === 'leaving').length, 1)
  worker.host.emit('uncaughtException', new Error('on purpose'))
  await turn()
  t.ok(worker.said.includes('dying'))
  t.same(worker.calls, ['end: upgrade'])
  worker.ended.resolve(0)
  t.equal(await worker.host.exited, 1)
})

t.test('a single one ends, also one that has become so', async t => {
  const worker = play({}, sibling)
  worker.serve()
  worker.parent.emit('team', { workers: 1, heir: 100, pids: [100] })
  worker.host.emit('SIGTERM', 'SIGTERM')
  await turn()
  t.same(worker.calls, ['end: close'])
})

t.test('where all are to end, one that a signal has asked before ends too', async t => {
  const [before, after] = [play({}, sibling), play({}, sibling)]
  for (const worker of [before, after]) worker.serve()
  before.host.emit('SIGTERM', 'SIGTERM')
  await turn()
  before.parent.emit('close', 'SIGTERM')
  after.parent.emit('close', 'SIGTERM')
  after.host.emit('SIGTERM', 'SIGTERM')
  for (const worker of [before, after]) {
    await turn()
    t.same(worker.calls, ['end: close'])
    worker.ended.resolve(0)
    t.equal(await worker.host.exited, 0)
  }
  t.notOk(after.said.includes('leaving'))
})

t.test('its files and connections are for its siblings, until all are to end', t => {
  const worker = play({}, sibling)
  t.same(worker.heard, ['share'])
  t.equal(worker.application.siblings, worker.parent.offer)
  worker.parent.emit('close', null)
  t.equal(worker.application.siblings, undefined)
  t.same(worker.heard, ['share', 'share no more'])
  const single = play()
  t.equal(single.application.siblings, undefined)
  single.parent.emit('team', { workers: 2, heir: 100, pids: [100, 101] })
  t.equal(single.application.siblings, single.parent.offer)
  t.end()
})

t.test('it does what only one may do when its master says so, or an old master says no more', t => {
  const worker = play()
  worker.serve()
  t.notOk(worker.said.includes('alone'))
  worker.parent.emit('alone')
  t.ok(worker.said.includes('alone'))
  const old = play()
  old.parent.emit('serve', undefined)
  t.ok(old.said.includes('alone'))
  t.end()
})

t.test('without its master, the heir of several is the master, and no other', t => {
  const [heir, other] = [play({}, sibling), play({}, sibling)]
  for (const worker of [heir, other]) {
    worker.serve()
    worker.parent.emit('team', { workers: 2, heir: worker === heir ? worker.host.pid : 99, pids: [] })
    worker.lose()
  }
  t.ok(heir.isAlone())
  t.notOk(other.isAlone())
  t.match(other.lines.at(-1), /^error: master lost: another worker is the master now/)
  other.host.emit('SIGTERM', 'SIGTERM')
  t.same(other.calls, ['end: upgrade'], 'idle connections are served once more: others serve on')
  t.end()
})

/** One of several that serves, and whose master is lost. */
function playOrphan(team: { readonly heir: number; readonly pids: readonly number[] }) {
  const worker = play({}, sibling)
  worker.serve()
  worker.parent.emit('team', { workers: 3, ...team })
  worker.lose()
  return worker
}

t.test('an heir that has died with the master is none: the next one is', t => {
  const worker = play({}, sibling)
  worker.serve()
  worker.parent.emit('team', { workers: 3, heir: 99, pids: [99, 100, 101] })
  worker.gone.add(99)
  worker.lose()
  t.ok(worker.isAlone())
  t.same(worker.lines, ['warn: master lost, this generation goes on as its own master'])
  t.end()
})

t.test('one whose heir dies later looks who is next, until that is itself; once', t => {
  const worker = playOrphan({ heir: 98, pids: [98, 99, 100, 101] })
  worker.host.tick()
  t.equal(worker.lines.length, 1, 'nothing has changed')
  worker.gone.add(98)
  worker.host.tick()
  t.notOk(worker.isAlone())
  t.equal(worker.lines.length, 2)
  worker.gone.add(99)
  for (let ticks = 0; ticks < 2; ticks++) worker.host.tick()
  t.ok(worker.isAlone())
  t.notOk(worker.said.includes('alone again'))
  t.end()
})

t.test(
  'who goes on alone is at no moment without a listener: a signal that waits to be told is not lost',
  async t => {
    const [heir, next, booting] = [
      play(),
      playOrphan({ heir: 99, pids: [99, 100] }),
      play({}, { succeeds: 'master' })
    ]
    heir.serve()
    heir.lose()
    next.gone.add(99)
    next.host.tick()
    booting.lose()
    for (const worker of [heir, next, booting]) {
      t.match(worker.kept(), { SIGHUP: 1, SIGTERM: 1, SIGINT: 1 })
      t.same(worker.host.listening(), {})
      await turn()
      t.notOk(
        worker.lines.some(line => line.includes('another listener')),
        'and nobody is warned of it'
      )
    }
  }
)

t.test('one that is on its way out is not the next one', t => {
  const worker = playOrphan({ heir: 99, pids: [99, 100] })
  worker.host.emit('SIGTERM', 'SIGTERM')
  worker.gone.add(99)
  worker.host.tick()
  t.notOk(worker.isAlone())
  t.end()
})

t.test(
  'without its master, no connection of it waits for a taker: not when it crashes, nor when it closes itself',
  t => {
    const [orphan, other] = [playOrphan({ heir: 99, pids: [99, 100] }), play()]
    other.serve()
    const relays: (Relay | undefined)[] = []
    for (const { application, host } of [orphan, other]) {
      const { end } = application
      application.end = (reason, how) => {
        relays.push(how?.relay)
        return end(reason, how)
      }
      host.emit('uncaughtException', new Error('on purpose'))
    }
    t.same(relays, [undefined, other.parent.offer])
    t.same(orphan.calls, ['end: close'])
    t.equal(orphan.application.siblings, undefined)
    t.end()
  }
)

t.test('where an heir can not find it, and may have been upgraded, it is not the next one', t => {
  const worker = playOrphan({ heir: 99, pids: [99, 100] })
  worker.unseen.add(worker.host.pid)
  worker.gone.add(99)
  worker.host.tick()
  t.notOk(worker.isAlone())
  t.end()
})

t.test('SIGHUP to one that is not the master says who is; if that is gone, it upgrades itself', async t => {
  const worker = playOrphan({ heir: 99, pids: [99, 100] })
  worker.host.emit('SIGHUP')
  await turn()
  t.match(worker.lines[1], /^warn: master lost: another worker is the master now, ask that one/)
  t.equal(worker.lines.length, 2)
  await t.rejects(worker.role.upgrade(), { code: 'GRACEFUL_UPGRADE_MASTER_LOST', message: /process 99/ })
  t.notOk(worker.said.includes('upgrade'))
  worker.gone.add(99)
  worker.host.emit('SIGHUP')
  await turn()
  t.ok(worker.isAlone())
  t.equal(worker.said.at(-1), 'upgrades itself')
})

t.test('without its master, one that is about to make way ends', t => {
  const worker = play({}, sibling)
  worker.serve()
  worker.host.emit('SIGTERM', 'SIGTERM')
  worker.lose()
  t.same(worker.calls, ['end: close'])
  t.end()
})

t.test('on probation it accepts only where nothing can be given to it, and then takes over', async t => {
  const { parent, heard, host, said, ready, listen } = play()
  ready.resolve(['b'])
  await turn()
  parent.emit('probe')
  listen()
  t.same(heard, ['probe', 'upgrading true', 'serve'])
  t.same(host.listening(), full)
  t.notOk(said.includes('alone'))
  parent.emit('serve', ['b'])
  await turn()
  t.same(heard.slice(3), ['serve', 'over', 'upgrading false', 'dropUnclaimed'])
  t.same(host.listening(), full, 'no signal is heard twice')
})

t.test('a signal to one on probation asks the master, which lets it make way at once', async t => {
  const worker = play()
  worker.parent.emit('probe')
  worker.listen()
  worker.host.emit('SIGTERM', 'SIGTERM')
  t.equal(worker.said.at(-1), 'leaving')
  t.same(worker.calls, [])
  worker.parent.emit('retire', true)
  await turn()
  t.same(worker.calls, ['end: upgrade, urgently'])
  t.equal(worker.heard.at(-1), 'over')
})

t.test('the master hears of its errors, and of a check that fails', async t => {
  const { parent, said, beside } = play()
  parent.emit('probe')
  beside.judges()!.onErred()
  beside.judges()!.onCheckFailure({ request: 'GET /health', outcome: 'answered 503', body: 'down' })
  t.same(said.slice(-2), ['erred', 'rollback: GET /health answered 503: down'])
})

t.test('beside one on probation it gives the share that the master says', async t => {
  const { parent, heard } = play()
  parent.emit('beside', 0.2)
  parent.emit('beside', null)
  t.same(heard, ['give 0.2', 'over'])
})

t.test(
  'one on probation whose master is lost ends if another one serves, and else goes on alone',
  async t => {
    const spare = play()
    spare.parent.emit('probe')
    spare.listen()
    spare.lose()
    t.same(spare.calls, ['end: close'])
    t.notOk(spare.isAlone())
    spare.ended.resolve(0)
    t.equal(await spare.host.exited, 1)
    const only = play({}, { succeeds: 'master' })
    only.parent.emit('probe')
    only.listen()
    only.lose()
    t.ok(only.isAlone())
    t.same(only.calls, [])
    t.match(only.heard, ['probe', 'upgrading true', 'serve', 'upgrading false', 'serve', 'over'])
  }
)

t.test('one on probation that is told to end with all others does so', async t => {
  const worker = play()
  worker.parent.emit('probe')
  worker.listen()
  worker.parent.emit('close', null)
  t.same(worker.calls, ['end: close'])
  t.same(worker.heard.slice(3), ['over', 'upgrading false'], 'its files go with it')
})

t.test('with closeDelay it serves on until the master says so again, not by a signal of its own', async t => {
  const worker = play({ closeDelay: 600_000 })
  worker.serve()
  worker.parent.emit('close', null)
  t.ok(worker.application.isClosing)
  worker.host.emit('SIGINT', 'SIGINT')
  t.ok(worker.application.isClosing, 'the master counts them')
  t.notOk(worker.said.includes('draining'))
  worker.parent.emit('close', null)
  t.same(worker.calls, ['end: close'])
  t.ok(worker.said.includes('draining'), 'so that the next signal is none to skip a delay')
})

t.test('who alone has got the signal skips it by another one; npm may have passed on the same', async t => {
  const worker = play({ closeDelay: 600_000 })
  worker.serve()
  worker.host.emit('SIGTERM', 'SIGTERM')
  worker.host.emit('SIGTERM', 'SIGTERM')
  t.ok(worker.application.isClosing)
  worker.host.emit('SIGINT', 'SIGINT')
  t.same(worker.calls, ['end: close'])
})

t.test('one of several that was to leave alone serves on like all others when all shall end', async t => {
  const worker = play({ closeDelay: 600_000 }, { worker: 1, workers: 2 })
  worker.serve()
  worker.host.emit('SIGINT', 'SIGINT')
  worker.parent.emit('close', 'SIGINT')
  t.ok(worker.application.isClosing)
  worker.parent.emit('close', null)
  worker.ended.resolve(0)
  t.equal(await worker.host.exited, 0)
})

t.test('where the master is lost meanwhile nobody could skip it any more: it is over', t => {
  const worker = play({ closeDelay: 600_000 })
  worker.serve()
  worker.parent.emit('close', null)
  worker.lose()
  t.same(worker.calls, ['end: close'])
  t.notOk(worker.isAlone())
  t.end()
})

t.test('what the whole service is doing the master tells; without one it tells of itself', async t => {
  const { role, lose } = play()
  t.equal(await role.inquire('status'), 'status of the master', 'also while it boots')
  lose()
  t.match(await role.inquire('status'), {
    pid: process.pid,
    mode: 'standalone',
    generations: [{ generation: 2 }]
  })
  t.match(await role.inquire('metrics'), /^graceful_upgrade_generation 2$/m)
})
