// A chat over WebSocket and a feed of server-sent events, to be reloaded while a browser looks at them:
//   node example/live.js, open http://localhost:3000 in two windows, kill -HUP the pid that the page shows.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const page = readFileSync(new URL('live.html', import.meta.url))
const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)
await app.register(websocket)
const { generation, onDrain, signal } = app.gracefulUpgrade
const master = generation === 1 ? process.pid : process.ppid

app.get('/', (_request, reply) => reply.type('text/html').send(page))

// The plugin tells these to come again: 1012 on an upgrade, 1001 on a shutdown, one after the other within a second.
// Meanwhile they are clients of two processes: for them to hear each other then, it takes a broker between the two.
app.register(async scope => {
  scope.get('/chat', { websocket: true }, socket => {
    socket.send(`generation ${generation}, reload it by kill -HUP ${master}`)
    socket.on('message', text => {
      for (const client of app.websocketServer.clients) client.send(String(text))
    })
  })
})

// A stream of events has no close frame: its handler ends it, and the browser comes again with the last id it has seen.
app.get('/feed', async (request, reply) => {
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  let id = Number(request.headers['last-event-id'] ?? second() - 1)
  while (!signal.aborted && !raw.destroyed) {
    while (id < second()) raw.write(`id: ${++id}\ndata: event ${id}, of generation ${generation}\n\n`)
    await sleep(100, undefined, { signal }).catch(() => {})
  }
  raw.end('retry: 100\n\n')
})

onDrain(reason => {
  for (const client of app.websocketServer.clients) client.send(`generation ${generation} leaves: ${reason}`)
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })

/** Events have to come from somewhere that outlives a generation, as a database; here it is the clock. */
function second() {
  return Math.floor(Date.now() / 1_000)
}
