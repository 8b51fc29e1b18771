// A worker of a team, for the benchmark of balance. /burn?turns=1000000 takes so many turns of a loop, so that it costs
// the same CPU time whoever else wants some. After SIGUSR2 its event loop stands still for 50 ms, every 100 ms, and takes
// no CPU time for that.
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

// However the benchmark ends, killed included, its servers end with it.
process.stdin.on('end', () => process.exit()).resume()

const nobody = new Int32Array(new SharedArrayBuffer(4))
process.on('SIGUSR2', () => setInterval(() => Atomics.wait(nobody, 0, 0, 50), 100))

const app = Fastify()
await app.register(gracefulUpgrade)

app.get('/', async () => ({ pid: process.pid }))
app.get('/burn', async ({ query }) => ({ end: burn(Number(query.turns)) }))

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })

let last = performance.eventLoopUtilization()
tell()
setInterval(tell, 250)

function tell() {
  const now = performance.eventLoopUtilization()
  const { utilization } = performance.eventLoopUtilization(now, last)
  last = now
  const worker = Number(process.env.GRACEFUL_UPGRADE_WORKER)
  console.log(JSON.stringify({ msg: 'load', worker, pid: process.pid, elu: utilization }))
}

function burn(turns) {
  let value = 1
  for (let turn = 0; turn < turns; turn++) value = (value * 31 + turn) | 0
  return value
}
