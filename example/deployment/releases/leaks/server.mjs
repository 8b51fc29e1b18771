// It starts, keeps a megabyte of each request, and is killed a second after the first one, as the system does it where memory
// is short.
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)

const kept = []
app.get('/', async () => {
  if (kept.push(Buffer.alloc(2 ** 20, 1)) === 1) setTimeout(() => process.kill(process.pid, 'SIGKILL'), 1_000)
  return `release leaks, pid ${process.pid}\n`
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })
