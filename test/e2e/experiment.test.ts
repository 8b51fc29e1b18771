/**
 * The experiment that this project answers: a server is upgraded again and again while clients, each with a
 * keep-alive connection of its own and none ever retrying, post some ten bytes and read back who answered.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type LoadOptions, startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'

const upgrades = Number(process.env.EXPERIMENT_UPGRADES ?? 4)
/** Milliseconds between two upgrades. */
const period = Number(process.env.EXPERIMENT_PERIOD ?? 300)

interface Scenario extends Omit<LoadOptions, 'done'> {
  readonly title: string
  readonly handover?: 'idle' | 'all'
}

const scenarios: Scenario[] = [
  { title: '30 clients without a pause lose no request', clients: 30 },
  { title: '30 clients with a connection for each request lose none', clients: 30, fresh: true },
  { title: '30 clients with pauses of 0 to 20 ms lose none', clients: 30, pause: [0, 20] },
  { title: '30 clients with pauses of 100 to 700 ms lose none', clients: 30, pause: [100, 700] },
  { title: '300 clients with pauses of 0 to 20 ms lose none', clients: 300, pause: [0, 20] },
  {
    title: "300 clients lose none on the same 300 connections, with handover 'all'",
    clients: 300,
    pause: [0, 20],
    handover: 'all'
  }
]

for (const { title, handover = 'idle', ...scenario } of scenarios) {
  t.test(title, async t => {
    const server = startServer(t, {
      release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover } }
    })
    const port = await server.port()
    const running = startLoad(t, { host: '127.0.0.1', port }, { ...scenario })
    const generations = new Set<number>([1])
    for (let upgrade = 0; upgrade < upgrades; upgrade++) {
      await sleep(period)
      generations.add((await server.reload()).generation)
    }
    await sleep(period)
    const result = await running.stop()
    t.comment(JSON.stringify(result))
    t.same(result.failures, {}, 'no request fails')
    if (handover === 'all') t.equal(result.opened, scenario.clients, 'and no connection is made anew')
    t.equal(generations.size, upgrades + 1, 'every upgrade succeeds')
    t.ok(Object.keys(result.generations).length > upgrades / 2, 'one generation after the other serves')
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}
