/**
 * The experiment that this project answers: a server is upgraded again and again while clients, each with a
 * keep-alive connection of its own and none ever retrying, post some ten bytes and read back who answered.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { type LoadOptions, startLoad } from '../helper/load.ts'
import { startServer } from '../helper/server.ts'

const upgrades = Number(process.env.EXPERIMENT_UPGRADES ?? 3)
/** Milliseconds between two upgrades. */
const period = Number(process.env.EXPERIMENT_PERIOD ?? 200)

/** On a machine that others use, too: in half of it all must have moved. */
const drainTimeout = 300_000

interface Population extends Omit<LoadOptions, 'done'> {
  readonly title: string
}

/** Who asks the same server at the same time. */
const scenarios: { readonly handover: 'idle' | 'all'; readonly populations: readonly Population[] }[] = [
  {
    handover: 'idle',
    populations: [
      { title: '30 clients without a pause lose no request', clients: 30 },
      { title: '30 clients with a connection for each request lose none', clients: 30, fresh: true },
      { title: '30 clients with pauses of 0 to 20 ms lose none', clients: 30, pause: [0, 20] },
      { title: '30 clients with pauses of 100 to 700 ms lose none', clients: 30, pause: [100, 700] },
      { title: '300 clients with pauses of 0 to 20 ms lose none', clients: 300, pause: [0, 20] }
    ]
  },
  {
    handover: 'all',
    populations: [
      { title: '300 clients lose none on the same 300 connections', clients: 300, pause: [0, 20] },
      { title: '30 clients without a pause lose none on the same 30', clients: 30 }
    ]
  }
]

t.jobs = scenarios.length // a server each, at the same time

for (const { handover, populations } of scenarios) {
  t.test(`with handover '${handover}'`, { buffered: true }, async t => {
    const server = startServer(t, {
      release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover, drainTimeout } }
    })
    const address = { host: '127.0.0.1', port: await server.port() }
    const running = populations.map(({ title, ...population }) => startLoad(t, address, population))
    for (let upgrade = 1; upgrade <= upgrades; upgrade++) {
      await sleep(period)
      t.equal((await server.reload()).generation, upgrade + 1, 'the upgrade succeeds')
      await Promise.all(running.map(({ answered }) => answered(upgrade + 1)))
    }
    const results = await Promise.all(running.map(({ stop }) => stop()))
    for (const [index, { title, clients }] of populations.entries()) {
      const { failures, opened, generations } = results[index]!
      t.comment(JSON.stringify(results[index]))
      t.same(failures, {}, title)
      if (handover === 'all') t.equal(opened, clients, 'and no connection is made anew')
      t.ok(generations[upgrades + 1], 'and the last generation has served them')
    }
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}
