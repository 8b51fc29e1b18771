/** An application that closes itself when its generation drains joins in that drain, which stays what it is. */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'
import { inFlight } from '../helper/supervised.ts'

for (const closesItself of ['on the signal', 'in a hook', 'awaited in a hook']) {
  t.test(`app.close() ${closesItself}: connections move all the same, and nothing takes longer`, async t => {
    const listen = [1, 2].map(() => ({ port: 0, host: '127.0.0.1' }))
    const server = startServer(t, { release: { closesItself, listen } })
    const ports: number[] = []
    for (const _ of listen) ports.push((await server.line('listening on')).bound[0].port)
    const [port = 0, other = 0] = ports
    const closed = () => server.lines.filter(({ msg }) => msg === 'onClose hook').length
    const reasons = () => server.lines.flatMap(({ msg, reason }) => (msg === 'signal aborted' ? reason : []))

    const silent = Array.from({ length: 10 }, () => new Client({ host: '127.0.0.1', port }))
    t.teardown(() => silent.map(client => client.close()))
    for (const client of silent) await client.get('/')
    const running = ports.map(port =>
      startLoad(t, { host: '127.0.0.1', port }, { clients: 10, pause: [0, 50] })
    )
    for (const [upgrades, generation] of [2, 3].entries()) {
      await sleep(200)
      const slow = inFlight(other, 'drain')
      await slow.begun
      t.match(await server.reload(), { generation })
      t.match(await slow.answer, { status: 200 })
      t.equal(closed(), 2 * upgrades, 'none is closed before the last request of all is answered')
      const { code, moved, cut, ms } = await server.line('generation retired')
      t.same({ code, cut }, { code: 0, cut: 0 })
      t.ok(moved >= silent.length, `${moved} connections have moved`)
      t.ok(ms < 5_000, `it took ${ms} ms`)
    }
    t.same(
      (await Promise.all(running.map(each => each.stop()))).map(({ failures }) => failures),
      [{}, {}]
    )
    for (const client of silent) await client.get('/')
    t.same(new Set(silent.map(({ opened }) => opened)), new Set([1]), 'the silent ones among them')
    t.same(reasons(), ['upgrade', 'upgrade', 'upgrade', 'upgrade'])

    const slow = inFlight(other, 700)
    await slow.begun
    const begun = performance.now()
    server.kill('SIGTERM')
    t.match(await slow.answer, { status: 200 })
    t.same(await server.exit(), { code: 0, signal: null })
    t.ok(performance.now() - begun < 10_000, 'long before drainTimeout')
  })
}
