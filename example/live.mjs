// A chat over WebSocket and a feed of server-sent events, to be reloaded while a browser looks at them:
//   node example/live.mjs, open http://localhost:3000 in two windows, kill -HUP the pid that the page shows.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const page = readFileSync(new URL('live.html', import.meta.url))
const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)
await app.register(websocket)
const { generation, keep, restored, onDrain, signal } = app.gracefulUpgrade
const master = generation === 1 ? process.pid : process.ppid

app.get('/', (_request, reply) => reply.type('text/html').send(page))

// These go on in the next process, with the seat as it is then. While they move they are clients of two processes: for
// them to hear each other then, it takes a broker between the two.
app.register(async scope => {
  scope.get('/chat', { websocket: true }, (socket, request) => {
    const seat = restored(request) ?? { version: 1, name: `guest ${request.socket.remotePort}`, said: 0 }
    if (seat.version !== 1) return socket.close(1012) // of a version that this one does not understand
    const kept = keep(socket, request, () => seat)
    socket.send(`generation ${generation}, reload it by kill -HUP ${master}; you are ${seat.name}`)
    socket.on('message', text => sayToAll(`${seat.name} (${++seat.said}): ${text}`))
    socket.on('close', () => kept.moved || sayToAll(`${seat.name} has left`))
  })
})

function sayToAll(text) {
  for (const client of app.websocketServer.clients) client.send(text)
}

// So does a stream of events. On a shutdown its handler ends it, and the browser comes again with the last id it has seen.
app.get('/feed', async (request, reply) => {
  reply.hijack()
  const { raw } = reply
  let id = restored(request)?.id ?? Number(request.headers['last-event-id'] ?? second() - 1)
  keep(raw, request, () => ({ id }))
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  while (signal.reason !== 'close' && !raw.destroyed) {
    while (id < second()) raw.write(`id: ${++id}\ndata: event ${id}, of generation ${generation}\n\n`)
    await sleep(100)
  }
  raw.end('retry: 100\n\n')
})

onDrain((reason, moves) => {
  for (const client of app.websocketServer.clients)
    if (!moves(client)) client.send(`generation ${generation} leaves: ${reason}`)
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })

/** Events have to come from somewhere that outlives a generation, as a database; here it is the clock. */
function second() {
  return Math.floor(Date.now() / 1_000)
}
