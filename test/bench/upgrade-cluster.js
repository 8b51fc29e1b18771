// A rolling restart with node:cluster, on SIGHUP: the next worker listens, then the last one is disconnected. That
// alone would leave it with its keep-alive connections for as long as the clients want, so it is told to close, too.
import cluster from 'node:cluster'
import { once } from 'node:events'
import path from 'node:path'

process.stdin.on('end', () => process.exit()).resume()

cluster.setupPrimary({ exec: path.join(import.meta.dirname, 'upgrade-server.js') })
const workers = await Promise.all(Array.from({ length: Number(process.env.WORKERS ?? 1) }, start))
console.log('{"msg":"serving"}')

process.on('SIGHUP', async () => {
  for (const [index, last] of workers.entries()) {
    workers[index] = await start()
    if (index === workers.length - 1) console.log('{"msg":"generation ready"}')
    last.once('disconnect', () => last.process.kill('SIGTERM'))
    last.disconnect()
  }
})

async function start() {
  const next = cluster.fork()
  await once(next, 'listening')
  return next
}
