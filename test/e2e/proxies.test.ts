/** A server behind a proxy, which keeps connections to it open, is upgraded: neither the proxy nor its clients notice. */
import { once } from 'node:events'
import path from 'node:path'
import t from 'tap'
import { chat, type Talk } from '../helper/chat.ts'
import { haproxy } from '../helper/haproxy.ts'
import { load } from '../helper/load.ts'
import { nginx } from '../helper/nginx.ts'
import { missing } from '../helper/program.ts'
import { startProxy } from '../helper/proxy.ts'
import { rollCall } from '../helper/roll-call.ts'
import { startServer } from '../helper/server.ts'

/** Under load; one more follows without. */
const upgrades = Number(process.env.PROXY_UPGRADES ?? 2)
/** How many clients send HTTP requests, and how many talk over WebSockets. */
const clients = 20

const kinds = [
  { proxy: nginx, well: (status: number) => `exchange ${status} ${status}` },
  { proxy: haproxy, well: (status: number) => `exchange ${status} ---- 0` }
]
const stages = [
  { over: 'TCP', listen: { port: 0, host: '127.0.0.1' }, handover: 'idle' },
  { over: 'a Unix socket', listen: { path: 'app.sock' }, handover: 'all' }
] as const

for (const { proxy: kind, well } of kinds) {
  const skip = missing(kind.name)

  for (const { over, listen, handover } of stages) {
    const title = `${kind.name} over ${over} loses no request and no message with handover '${handover}'`
    t.test(title, { skip }, async t => {
      const server = startServer(t, {
        fixture: 'long-lived.js',
        release: { listen, options: { handover, spreadTime: 200 } }
      })
      const { bound } = await server.line('listening on')
      const upstream =
        'path' in listen ? { path: path.join(server.directory, listen.path) } : { port: bound[0].port }
      const outputEnded = once(server.child, 'close')
      const proxy = await startProxy(t, kind, upstream)

      const controller = new AbortController()
      t.teardown(() => controller.abort())
      const { note, complete } = rollCall(2 * clients)
      const traffic = { clients, done: controller.signal, pause: [0, 100], onAnswer: note } as const
      const [http, webSockets] = await Promise.all([
        load(proxy.address, traffic),
        chat(proxy.address, traffic),
        upgradeAll().finally(() => controller.abort())
      ])
      t.comment(JSON.stringify(http))
      t.same(http.failures, {}, 'no client reports a failed request')
      t.equal(Object.keys(http.generations).length, upgrades + 1, 'every generation has answered')

      // What the proxy keeps open is at rest now, and moves; its next clients ask over it.
      const last = (await server.reload()).generation
      const { moved } = await server.line('generation retired', line => line.generation === last - 1)
      t.ok(moved > 0, 'connections of the proxy were handed over')
      const done = AbortSignal.timeout(300)
      const afterwards = await load(proxy.address, { clients, done, pause: [0, 100] })
      t.same(afterwards.failures, {}, 'no client reports a failed request')
      t.same(
        afterwards.generations,
        { [last]: afterwards.requests },
        'the newest generation has answered all'
      )

      const { talks, failures } = webSockets
      t.same(failures, {}, 'no client reports a failed handshake, connection or answer')
      const codes: Record<number, number> = {}
      for (const { code } of talks) codes[code] = (codes[code] ?? 0) + 1
      t.comment(`${talks.length} WebSockets by the code that they were closed with: ${JSON.stringify(codes)}`)
      t.equal(codes[1000], clients, 'each client leaves once, of itself')
      t.equal(codes[1012], talks.length - clients, 'all others are told to come again')
      const met = new Set(talks.map(({ talk, generation }) => `${talk.split('.')[0]}, ${generation}`))
      t.equal(met.size, clients * (upgrades + 1), 'each client has met every generation')
      await proxy.stop()
      t.same(
        proxy.exchanges(),
        { [well(200)]: http.requests + afterwards.requests, [well(101)]: talks.length },
        'the proxy has seen all answered well'
      )
      t.same(proxy.complaints(), [], 'the proxy has nothing to complain of')

      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null }, 'the server ends well')
      await outputEnded
      const heard = server.lines
        .filter(({ msg }) => msg === 'talk ended')
        .map(line => asTalk(line as unknown as Talk))
      t.same(heard.sort(byName), talks.map(asTalk).sort(byName), 'both sides of each WebSocket know the same')
      const drains = server.lines.filter(({ msg }) => msg === 'drained')
      t.ok(
        drains.every(({ cut }) => cut === 0),
        'none was cut'
      )

      async function upgradeAll(): Promise<void> {
        await complete(1)
        for (let generation = 2; generation <= upgrades + 1; generation++) {
          t.equal((await server.reload()).generation, generation, 'the upgrade succeeds')
          await complete(generation)
        }
      }
    })
  }
}

function asTalk({ talk, generation, questions, answers, code }: Talk): Talk {
  return { talk, generation, questions, answers, code }
}

function byName(a: Talk, b: Talk): number {
  return a.talk < b.talk ? -1 : 1
}
