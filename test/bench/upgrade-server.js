// The server of every contender. With HANDOVER it upgrades itself; without, it closes with grace, and whoever
// started it does the rest.
import cluster from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import Fastify, { LogController } from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

// However the benchmark ends, killed included, its servers end with it; a worker of node:cluster with its primary.
if (!cluster.isWorker) process.stdin.on('end', () => process.exit()).resume()

const handover = process.env.HANDOVER
const app = Fastify({
  logger: handover !== undefined,
  logController: new LogController({ disableRequestLogging: true })
})
if (handover === undefined) closeWithGrace({ delay: 5_000 }, () => app.close())
else await app.register(gracefulUpgrade, { handover: handover === 'false' ? false : handover })

app.get('/', async () => ({ pid: process.pid }))

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
if (handover === undefined && !cluster.isWorker) process.send('serving')
else if (!cluster.isWorker) console.log('{"msg":"serving"}')
