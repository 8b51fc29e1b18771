/** A server behind a proxy, which keeps connections to it open, is upgraded: neither the proxy nor its clients notice. */
import { once } from 'node:events'
import path from 'node:path'
import t, { type Test } from 'tap'
import { chat, type Talk } from '../helper/chat.ts'
import { haproxy } from '../helper/haproxy.ts'
import { load } from '../helper/load.ts'
import { nginx } from '../helper/nginx.ts'
import { missing } from '../helper/program.ts'
import { type ProxyKind, startProxy, type Upstream } from '../helper/proxy.ts'
import { rollCall } from '../helper/roll-call.ts'
import { startServer } from '../helper/server.ts'

/** Under load; one more follows without. */
const upgrades = Number(process.env.PROXY_UPGRADES ?? 2)
/** How many clients send HTTP requests, and how many talk over WebSockets. */
const clients = 20

interface Kind {
  readonly proxy: ProxyKind
  /** How its log calls an exchange of this status that went well. */
  well(status: number): string
}

const kinds: Kind[] = [
  { proxy: nginx, well: (status: number) => `exchange ${status} ${status}` },
  { proxy: haproxy, well: (status: number) => `exchange ${status} ---- 0` }
]
const stages = [
  { over: 'TCP', listen: { port: 0, host: '127.0.0.1' }, handover: 'idle' },
  { over: 'a Unix socket', listen: { path: 'app.sock' }, handover: 'all' },
  { over: 'TCP to two workers', listen: { port: 0, host: '127.0.0.1' }, handover: 'all', workers: 2 }
] as const

for (const { over, listen, handover, ...others } of stages) {
  t.test(`over ${over}, with handover '${handover}'`, async t => {
    const server = startServer(t, {
      fixture: 'long-lived.js',
      ...('workers' in others && { supervised: ['--workers', String(others.workers)] }),
      release: { listen, options: { handover, spreadTime: 200 } }
    })
    const { bound } = await server.line('listening on')
    if ('workers' in others) await server.line('generation ready')
    const upstream =
      'path' in listen ? { path: path.join(server.directory, listen.path) } : { port: bound[0].port }
    const outputEnded = once(server.child, 'close')
    const controller = new AbortController()
    t.teardown(() => controller.abort())
    const present = kinds.filter(({ proxy }) => !missing(proxy.name))
    const fronts = await Promise.all(present.map(kind => startFront(t, kind, upstream, controller.signal)))

    const allMet = (generation: number) => Promise.all(fronts.map(({ complete }) => complete(generation)))
    await allMet(1)
    for (let generation = 2; generation <= upgrades + 1; generation++) {
      t.equal((await server.reload()).generation, generation, 'the upgrade succeeds')
      await allMet(generation)
    }
    controller.abort()
    const traffic = await Promise.all(fronts.map(({ traffic }) => traffic))

    // What the proxies keep open is at rest now, and moves; their next clients ask over it.
    const last = (await server.reload()).generation
    const { moved } = await server.line('generation retired', line => line.generation === last - 1)
    t.ok(moved >= fronts.length, 'connections of the proxies were handed over')
    const done = AbortSignal.timeout(300)
    const afterwards = await Promise.all(
      fronts.map(({ proxy }) => load(proxy.address, { clients, done, pause: [0, 100] }))
    )

    for (const { proxy: kind, well } of kinds) {
      const title = `${kind.name} loses no request and no message`
      await t.test(title, { skip: missing(kind.name) }, async t => {
        const index = present.findIndex(({ proxy }) => proxy === kind)
        const { proxy } = fronts[index]!
        const [http, { talks, failures }] = traffic[index]!
        const later = afterwards[index]!
        t.comment(JSON.stringify(http))
        t.same(http.failures, {}, 'no client reports a failed request')
        t.equal(Object.keys(http.generations).length, upgrades + 1, 'every generation has answered')
        t.same(later.failures, {}, 'no client reports a failed request over what has moved')
        t.same(later.generations, { [last]: later.requests }, 'the newest generation has answered all')

        t.same(failures, {}, 'no client reports a failed handshake, connection or answer')
        const codes: Record<number, number> = {}
        for (const { code } of talks) codes[code] = (codes[code] ?? 0) + 1
        t.comment(
          `${talks.length} WebSockets by the code that they were closed with: ${JSON.stringify(codes)}`
        )
        t.equal(codes[1000], clients, 'each client leaves once, of itself')
        t.equal(codes[1012], talks.length - clients, 'all others are told to come again')
        const met = new Set(talks.map(({ talk, generation }) => `${talk.split('.')[0]}, ${generation}`))
        t.equal(met.size, clients * (upgrades + 1), 'each client has met every generation')
        await proxy.stop()
        t.same(
          proxy.exchanges(),
          { [well(200)]: http.requests + later.requests, [well(101)]: talks.length },
          'the proxy has seen all answered well'
        )
        t.same(proxy.complaints(), [], 'the proxy has nothing to complain of')
      })
    }

    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null }, 'the server ends well')
    await outputEnded
    const heard = server.lines
      .filter(({ msg }) => msg === 'talk ended')
      .map(line => asTalk(line as unknown as Talk))
    const told = traffic.flatMap(([, { talks }]) => talks.map(asTalk))
    t.same(heard.sort(byName), told.sort(byName), 'both sides of each WebSocket know the same')
    const drains = server.lines.filter(({ msg }) => msg === 'drained')
    t.ok(
      drains.every(({ cut }) => cut === 0),
      'none was cut'
    )
  })
}

/** A proxy in front of the server, with clients that ask it, and others that talk through it, until `done`. */
async function startFront(t: Test, { proxy: kind }: Kind, upstream: Upstream, done: AbortSignal) {
  const proxy = await startProxy(t, kind, upstream)
  const { note, complete } = rollCall(2 * clients)
  const options = { clients, done, pause: [0, 100], onAnswer: note } as const
  const traffic = Promise.all([
    load(proxy.address, options),
    chat(proxy.address, { ...options, name: `chat by ${kind.name}` })
  ])
  return { proxy, complete, traffic }
}

function asTalk({ talk, generation, questions, answers, code }: Talk): Talk {
  return { talk, generation, questions, answers, code }
}

function byName(a: Talk, b: Talk): number {
  return a.talk < b.talk ? -1 : 1
}
