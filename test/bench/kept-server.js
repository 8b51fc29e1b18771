// WebSockets that are kept, or are not (KEEP=0), of one kind of compression (KIND). It answers each message by its length.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import websocket from '@fastify/websocket'
import Fastify, { LogController } from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

// However the benchmark ends, killed included, its servers end with it.
process.stdin.on('end', () => process.exit()).resume()

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')

const kinds = {
  none: false,
  context: { serverNoContextTakeover: true },
  'no context': { serverNoContextTakeover: true, clientNoContextTakeover: true }
}

const app = Fastify({ logger: true, logController: new LogController({ disableRequestLogging: true }) })
await app.register(gracefulUpgrade)
await app.register(websocket, { options: { perMessageDeflate: kinds[process.env.KIND] } })
const { keep, restored } = app.gracefulUpgrade

app.register(async scope => {
  scope.get('/', { websocket: true }, (socket, request) => {
    const seat = restored(request) ?? { heard: 0 }
    if (process.env.KEEP !== '0') keep(socket, request, () => seat)
    socket.on('message', data => socket.send(`${data.length} ${++seat.heard}`))
  })
  scope.get('/memory', async () => {
    collect()
    collect() // what the first one finalizes is freed by the second
    return { rss: process.memoryUsage.rss(), clients: app.websocketServer.clients.size }
  })
})

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
