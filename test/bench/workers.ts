/**
 * Several workers: what a request costs, how an uneven load is evened out, and what a reload costs the clients, next to
 * node:cluster and pm2. All take turns, each with a new server every time, so that what the machine does besides meets
 * all of them alike.
 *
 * It takes some five minutes; with QUICK=1 about two. More settings of the environment, with their defaults: ROUNDS=2
 * of the first part, each with LENGTH=2000 ms of each load; BALANCE_ROUNDS=2, each with BALANCE_LENGTH=6000 ms of each
 * scene with balance and without; RELOAD_ROUNDS=2, each with RELOADS=2; PM2=0 leaves out pm2, which is otherwise
 * installed into a temporary directory where it is missing.
 */
import { availableParallelism } from 'node:os'
import { showBalance } from './balance.ts'
import { type Contender, supervised, withPm2 } from './contender.ts'
import { showCost } from './cost.ts'
import { showFailures, warmUpClients } from './failures.ts'
import { giveUpAfter, loadAverage, requireDescriptors, setting } from './harness.ts'

const quick = process.env.QUICK === '1'
const rounds = setting('ROUNDS', quick ? 1 : 2)
const length = setting('LENGTH', 2_000)
const balanceRounds = setting('BALANCE_ROUNDS', quick ? 1 : 2)
const balanceLength = setting('BALANCE_LENGTH', 6_000)
const reloadRounds = setting('RELOAD_ROUNDS', quick ? 1 : 2)
const upgrades = setting('RELOADS', quick ? 1 : 2)
/** From one reload to the next, in milliseconds. */
const interval = 3_000
const longestRun = 3_600_000

if (process.platform !== 'linux') {
  console.log('CPU time is read from /proc/PID/stat, which only Linux has: nothing was measured.')
  process.exit()
}
requireDescriptors(500)
const start = performance.now()
giveUpAfter(longestRun)
printIntroduction()
const one = team(1)
const two = team(2)
const four = team(4)
const roundRobin = ofCluster('rr')
const pm2 = withPm2().map(contender => ({
  ...contender,
  name: 'pm2 -i 2',
  env: { ...contender.env, WORKERS: '2' }
}))
await warmUpClients(one)
await showCost([one, two, four, roundRobin, ofCluster('none'), ...pm2], {
  section: 1,
  rounds,
  length,
  one,
  roundRobin,
  teams: [two, four]
})
await showBalance({ section: 2, rounds: balanceRounds, length: balanceLength })
await showFailures([two, roundRobin, ...pm2], {
  section: 3,
  target: 'Target for --workers 2: no failure.',
  rounds: reloadRounds,
  upgrades,
  interval
})
printLimits()
process.exit() // what is left is timers of clients

function team(workers: number): Contender {
  return supervised(['--workers', String(workers)])
}

/** A cluster of two. */
function ofCluster(policy: 'rr' | 'none'): Contender {
  return {
    name: `node:cluster, ${policy}`,
    program: 'upgrade-cluster.js',
    env: { WORKERS: '2', NODE_CLUSTER_SCHED_POLICY: policy }
  }
}

function printIntroduction(): void {
  console.log(`Several workers: Node.js ${process.version}, ${availableParallelism()} cores, load average ${loadAverage()} before the first request.
Clients are raw connections that never retry, all in one process of the same machine. A failure is a request without
its whole 200, or a connection that is lost while it waits. Others: share of the machine that whatever else runs here took.
`)
}

function printLimits(): void {
  console.log(`${((performance.now() - start) / 1_000).toFixed(0)} s in all, load average ${loadAverage()} at the end.

What this can't show: more requests per second by more workers, where there are few cores and the clients take one of
them: on two cores a second worker gets what one worker and the clients leave, which is little, and four workers can
only show what they cost. A network, as this is loopback. An application that does some work in the first part: there,
what the framework and the way to the worker cost is all, so that ratios of CPU time are at their largest. In the second
part a second worker is of use as far as a core is idle; where it isn't, no more requests are possible, whoever
answers them. A rare failure: nothing in so few reloads is no proof of never. Latencies are of answers, a failed request
has none. Where others take much of the machine, run it again.`)
}
