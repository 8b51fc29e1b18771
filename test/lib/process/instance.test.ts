import dns from 'node:dns'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { constants, networkInterfaces } from 'node:os'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import gracefulUpgrade, { type GracefulUpgradeState } from '../../../lib/index.js'
import type { GracefulUpgradeOptions } from '../../../lib/options/given.js'

/** How many listeners the process has for whatever may end it or upgrade it. */
function listeners(): Record<string, number> {
  const signals = Object.keys(constants.signals)
  const errors = ['uncaughtException', 'unhandledRejection', 'uncaughtExceptionMonitor', 'warning']
  const events = [...signals, ...errors, 'beforeExit', 'message', 'disconnect', 'newListener']
  return Object.fromEntries(events.map(event => [event, process.listenerCount(event)]))
}

/** How many timers, sockets and the like keep the process alive. */
async function resources(): Promise<Record<string, number>> {
  await turn()
  await turn() // between the two, what is closed is gone
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  delete counts.FSReqCallback // the test runner may read a file
  return counts
}

/** The same when it has not changed for a while: control sockets are opened and closed beside what is waited for. */
async function settledResources(): Promise<Record<string, number>> {
  let last = await resources()
  for (let same = 0; same < 10; ) {
    await sleep(10)
    const now = await resources()
    same = JSON.stringify(now) === JSON.stringify(last) ? same + 1 : 0
    last = now
  }
  return last
}

function build(t: Test, options: GracefulUpgradeOptions = {}): FastifyInstance {
  const app = Fastify()
  void app.register(gracefulUpgrade, options)
  app.get('/', async () => 'hello')
  t.teardown(() => app.close())
  return app
}

/** On a free port. */
async function listen(app: FastifyInstance): Promise<string> {
  return await app.listen({ port: 0, host: '127.0.0.1' })
}

t.test('an instance that is only injected into installs nothing in the process', async t => {
  const before = listeners()
  const added: (string | symbol)[] = []
  const note = (event: string | symbol) => void added.push(event)
  process.on('newListener', note)
  t.teardown(() => process.off('newListener', note))
  const app = build(t)
  t.equal((await app.inject('/')).body, 'hello')
  process.off('newListener', note)
  t.same(listeners(), before)
  await app.close()
  t.same(listeners(), before)
  t.same(added, [], 'not even for a moment')
})

t.test('a server of somebody else installs nothing either', async t => {
  const before = listeners()
  const app = build(t)
  await app.ready()
  const server = net.createServer()
  t.teardown(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.same(listeners(), before)
  t.equal(app.gracefulUpgrade.state, 'starting')
})

t.test('a serving instance is heard of by the signals, and takes that back with close()', async t => {
  const quiet = listeners()
  const app = build(t)
  await listen(app)
  const serving = listeners()
  t.equal(serving.newListener, quiet.newListener! + 2)
  t.equal(process.listenerCount('SIGHUP'), 1, 'others on the reload signal are taken off')
  for (const event of ['SIGTERM', 'SIGINT', 'uncaughtException', 'unhandledRejection']) {
    t.equal(serving[event], quiet[event]! + 1, event)
  }
  await app.close()
  t.same(listeners(), { ...quiet, SIGHUP: 0 })
})

t.test('closeSignals: false and reloadSignal: false leave the process alone while it serves', async t => {
  const before = listeners()
  const app = build(t, { closeSignals: false, reloadSignal: false })
  await listen(app)
  t.same(listeners(), before)
})

t.test('the signals stay until the last of several instances is closed', async t => {
  const quiet = listeners()
  const [first, second] = [build(t), build(t)]
  await listen(first)
  const serving = listeners()
  await listen(second)
  t.same(listeners(), serving)
  await first.close()
  t.same(listeners(), serving)
  await second.close()
  t.same(listeners(), quiet)
})

t.test('a thousand instances that listen and close leave nothing behind', async t => {
  const warnings: Error[] = []
  const warn = (warning: Error) => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))

  const before = { listeners: listeners(), resources: await settledResources() }
  for (let batch = 0; batch < 20; batch++) {
    const apps = Array.from({ length: 50 }, () => Fastify().register(gracefulUpgrade))
    await Promise.all(apps.map(app => app.listen({ port: 0, host: '127.0.0.1' })))
    const { TCPServerWrap } = await resources()
    t.equal(TCPServerWrap, 50, 'all of them listen at once')
    await Promise.all(apps.map(app => app.close()))
  }
  t.same(listeners(), before.listeners)
  t.same(await settledResources(), before.resources)
  t.same(warnings, [])
})

t.test('many streams may listen to the signal', async t => {
  const warnings: Error[] = []
  const warn = (warning: Error) => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const app = build(t)
  await app.ready()
  for (let stream = 0; stream < 20; stream++) app.gracefulUpgrade.signal.addEventListener('abort', () => {})
  await turn()
  t.same(warnings, [])
})

t.test('upgrade() of an instance that does not listen is refused', async t => {
  const app = build(t)
  const refusal = { name: 'GracefulUpgradeError', code: 'GRACEFUL_UPGRADE_NOT_SERVING' }
  await app.ready()
  await t.rejects(app.gracefulUpgrade.upgrade(), refusal, 'not yet')
  await listen(app)
  await app.close()
  await t.rejects(app.gracefulUpgrade.upgrade(), refusal, 'no more')
})

t.test('the state of an instance is told', async t => {
  const app = build(t)
  const hooks: Record<string, GracefulUpgradeState> = {}
  const note = (hook: string) => {
    hooks[hook] = app.gracefulUpgrade.state
  }
  app.addHook('onReady', async () => note('onReady'))
  app.addHook('onListen', async () => note('onListen'))
  app.addHook('preClose', async () => note('preClose'))
  await app.ready()
  t.equal(app.gracefulUpgrade.state, 'starting')
  await listen(app)
  t.equal(app.gracefulUpgrade.state, 'serving')
  const closed = app.close()
  await once(app.gracefulUpgrade.signal, 'abort')
  t.equal(app.gracefulUpgrade.state, 'draining')
  await closed
  t.equal(app.gracefulUpgrade.state, 'closed')
  t.same(hooks, { onReady: 'starting', onListen: 'serving', preClose: 'draining' })
})

for (const listens of [true, false]) {
  const what = listens ? 'a serving instance' : 'an instance that never listens'
  t.test(`the signal of ${what} is aborted by close(), and says so`, async t => {
    const app = build(t)
    if (listens) await listen(app)
    else await app.ready()
    const { signal } = app.gracefulUpgrade
    t.type(signal, AbortSignal)
    t.equal(signal.aborted, false)
    let aborts = 0
    signal.addEventListener('abort', () => aborts++)
    await Promise.all([app.close(), app.close()])
    t.equal(signal.aborted, true)
    t.equal(signal.reason, 'close')
    t.equal(aborts, 1)
    t.equal(app.gracefulUpgrade.signal, signal)
    t.equal(app.gracefulUpgrade.state, 'closed')
  })
}

t.test('close() of one instance leaves the others alone', async t => {
  const [first, second] = [build(t), build(t)]
  await listen(first)
  const url = await listen(second)
  await first.close()
  t.equal(second.gracefulUpgrade.state, 'serving')
  t.equal(second.gracefulUpgrade.signal.aborted, false)
  t.equal(await (await fetch(url)).text(), 'hello')
})

t.test('the first process runs generation 1, and ready() does no harm', async t => {
  const app = build(t)
  await app.ready()
  t.equal(app.gracefulUpgrade.generation, 1)
  t.equal(app.gracefulUpgrade.ready(), undefined)
  t.equal(app.gracefulUpgrade.state, 'starting')
})

t.test('an instance counts its own connections', async t => {
  const [app, other] = [build(t), build(t)]
  const none = { fresh: 0, idle: 0, active: 0, detached: 0 }
  await listen(other)
  const url = await listen(app)
  t.same(app.gracefulUpgrade.connections(), none)
  let during: unknown
  app.server.once('request', () => {
    during = app.gracefulUpgrade.connections()
  })
  await (await fetch(url)).text()
  t.same(during, { ...none, active: 1 })
  t.same(app.gracefulUpgrade.connections(), { ...none, idle: 1 }, 'kept alive')
  t.same(other.gracefulUpgrade.connections(), none)
})

t.test('connections are counted on both servers of localhost', { skip: !hasIPv6() }, async t => {
  const { lookup } = dns
  t.teardown(() => {
    dns.lookup = lookup
  })
  const both = [
    { address: '127.0.0.1', family: 4 },
    { address: '::1', family: 6 }
  ]
  dns.lookup = ((host: string, options: { all?: boolean }, callback: never) => {
    if (host !== 'localhost') lookup(host, options, callback)
    else if (options.all) (callback as (error: null, found: object[]) => void)(null, both)
    else lookup('127.0.0.1', options, callback)
  }) as typeof lookup

  const app = build(t)
  await app.listen({ port: 0, host: 'localhost' })
  const addresses = app.addresses() as AddressInfo[]
  t.equal(addresses.length, 2)
  for (const { address, family, port } of addresses) {
    const host = family === 'IPv6' ? `[${address}]` : address
    await (await fetch(`http://${host}:${port}/`)).text()
  }
  t.equal(app.gracefulUpgrade.connections().idle, 2)
})

t.test('a server registers the plugin once, in whichever of its plugins', async t => {
  const code = 'GRACEFUL_UPGRADE_ALREADY_REGISTERED'
  const inPlugin = async (app: FastifyInstance) => void (await app.register(gracefulUpgrade))
  for (const [first, second] of [
    [gracefulUpgrade, gracefulUpgrade],
    [inPlugin, inPlugin],
    [inPlugin, gracefulUpgrade],
    [gracefulUpgrade, inPlugin]
  ] as const) {
    const app = Fastify()
    void app.register(first)
    void app.register(second)
    await t.rejects(async () => app.ready(), { code, message: /register it once, on the server itself/ })
    await app.close()
  }
  const [one, other] = [Fastify(), Fastify()]
  t.teardown(() => Promise.all([one.close(), other.close()]))
  await one.register(inPlugin)
  await other.register(inPlugin)
})

function hasIPv6(): boolean {
  return Object.values(networkInterfaces()).some(list => list?.some(({ address }) => address === '::1'))
}

t.test('an onDrain hook can be taken off, and one that comes late runs at once', async t => {
  const app = build(t)
  await listen(app)
  const ran: string[] = []
  const note = (name: string) => (reason: string) => void ran.push(`${name} ${reason}`)
  app.gracefulUpgrade.onDrain(note('first'))
  const takeOff = app.gracefulUpgrade.onDrain(note('second'))
  takeOff()
  await app.close()
  app.gracefulUpgrade.onDrain(note('late'))
  t.same(ran, ['first close', 'late close'])
})

t.test('a hook that waits for close() is not waited for, and any other is', async t => {
  const app = build(t, { drainTimeout: 20_000 })
  const order: string[] = []
  app.addHook('onClose', async () => void order.push('closed'))
  await listen(app)
  app.gracefulUpgrade.onDrain(async () => {
    await turn()
    await app.close()
    order.push('closer')
  })
  app.gracefulUpgrade.onDrain(async () => {
    await sleep(100)
    order.push('goodbye')
  })
  const begun = performance.now()
  await app.close()
  await turn()
  t.same(order, ['goodbye', 'closed', 'closer'])
  t.ok(performance.now() - begun < 10_000)
})

t.test('two instances that close each other end', async t => {
  const [one, other] = [build(t, { drainTimeout: 20_000 }), build(t, { drainTimeout: 20_000 })]
  await listen(one)
  await listen(other)
  one.gracefulUpgrade.onDrain(() => other.close())
  other.gracefulUpgrade.onDrain(() => one.close())
  const begun = performance.now()
  await one.close()
  t.equal(other.gracefulUpgrade.state, 'closed')
  t.ok(performance.now() - begun < 10_000)
})

t.test(
  'an onServe hook runs when the first process serves, at once if it does, and not if it is taken off',
  async t => {
    const app = build(t)
    const ran: string[] = []
    await app.ready()
    app.gracefulUpgrade.onServe(() => void ran.push('before'))
    app.gracefulUpgrade.onServe(() => void ran.push('taken off'))()
    await turn()
    await listen(app)
    await turn()
    t.ok(ran.includes('before'))
    app.gracefulUpgrade.onServe(() => void ran.push('after'))
    app.gracefulUpgrade.onServe(async () => {
      throw new Error('an onServe hook on purpose')
    })
    await turn()
    await app.close()
    app.gracefulUpgrade.onServe(() => void ran.push('too late'))
    await turn()
    t.same(ran, ['before', 'after'])
  }
)
