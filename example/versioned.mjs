// A server to upgrade by hand. Start it:
//
//   node example/versioned.mjs
//
// Ask it again and again on one connection, from a second terminal:
//
//   curl --silent --rate 5/s 'http://localhost:3000/?[1-1000]'
//
// Change the version below, save, and from a third terminal:
//
//   kill -HUP $(cat /tmp/versioned.pid)
//
import { writeFileSync } from 'node:fs'
import Fastify from 'fastify'
import gracefulUpgrade, { serverOptions } from 'fastify-graceful-upgrade'

const version = 'one'

const app = Fastify(serverOptions({ logger: true, gracefulUpgrade: { drainTimeout: 10_000 } }))
await app.register(gracefulUpgrade)

app.get(
  '/',
  async () => `version ${version}, generation ${app.gracefulUpgrade.generation}, pid ${process.pid}\n`
)
app.addHook('onClose', async () => app.log.info(`version ${version} has answered its last request`))

// The PID that was started stays, however often it is upgraded: only the first generation writes it.
if (app.gracefulUpgrade.generation === 1) writeFileSync('/tmp/versioned.pid', `${process.pid}\n`)

await app.listen({ port: Number(process.env.PORT ?? 3000) })
