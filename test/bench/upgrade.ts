/**
 * What an upgrade costs the clients: this package with each `handover`, next to what people use today. All take
 * turns, each with a new server every time, so that what the machine does besides meets all of them alike.
 *
 * It takes five to six minutes; with QUICK=1 about one and a half. More settings of the environment, with their defaults:
 * ROUNDS=3 of all contenders, each with UPGRADES=3; PAIRS=5 of runs with and without upgrades; IDLE_ROUNDS=2 with
 * 1,000 and CONNECTIONS=10000 idle connections; PM2=0 leaves out pm2, which is otherwise installed into a temporary
 * directory where it is missing.
 */
import { availableParallelism } from 'node:os'
import { type Contender, commonContenders, ownContenders, withPm2 } from './contender.ts'
import { showFailures, warmUpClients } from './failures.ts'
import { giveUpAfter, loadAverage, requireDescriptors, setting } from './harness.ts'
import { showIdle } from './idle-connections.ts'
import { showLatencies, showPairs } from './latencies.ts'

const quick = process.env.QUICK === '1'
const rounds = setting('ROUNDS', quick ? 1 : 3)
const upgrades = setting('UPGRADES', quick ? 1 : 3)
const pairs = setting('PAIRS', quick ? 1 : 5)
const idleRounds = setting('IDLE_ROUNDS', quick ? 1 : 2)
const connections = setting('CONNECTIONS', 10_000)
/** From one upgrade to the next, in milliseconds. */
const interval = 1_500
const longestRun = 480_000

requireDescriptors(connections + 200)
const start = performance.now()
giveUpAfter(longestRun)
printIntroduction()
const contenders = [...ownContenders, ...commonContenders, ...withPm2()]
const [all] = ownContenders as [Contender]
await warmUpClients(all)
await showFailures(contenders, {
  section: 1,
  target: "Target for 'all' and 'idle': no failure.",
  rounds,
  upgrades,
  interval
})
await showLatencies(contenders, {
  rounds: Math.ceil(rounds / 2),
  upgrades: Math.ceil(upgrades / 2),
  interval
})
for (const pause of [60, 8]) await showPairs(all, { pairs, upgrades: 3, interval, pause }) // a tenth and a third of two cores
await showIdle(all, [1_000, connections], idleRounds)
printLimits()
process.exit() // what is left is timers of clients

function printIntroduction(): void {
  console.log(`Upgrades under load: Node.js ${process.version}, ${availableParallelism()} cores, load average ${loadAverage()} before the first request.
Clients are raw keep-alive connections that never retry. A failure is a request without its whole 200; a reconnect
is a connection beyond each client's first, also one that the server had announced with Connection: close.
`)
}

function printLimits(): void {
  console.log(`${((performance.now() - start) / 1_000).toFixed(0)} s in all, load average ${loadAverage()} at the end.

What this can't show: a network, as this is loopback, where an answer takes no time on its way; a server that has a
machine to itself, as clients and both generations share the same few noisy cores, and the boot of the new one alone
takes a core for as long as it lasts (whoever has more cores than that sees less of it); a rare failure, as nothing
in so few upgrades is no proof of never; an application that does some work, or takes long to start, which is what
the outage of a restart is made of. Latencies are of answers: a failed request has none, so that the numbers of a
contender that fails look better than they are. The first answers of a new process are of code that was not compiled
yet; that is part of what an upgrade costs, of every kind. The restart, node:cluster and pm2 run a single process of
the application, as this package does; with more of them each loses less at a time, and as much in all. Where others
take much of the machine, latencies are theirs: run it again.`)
}
