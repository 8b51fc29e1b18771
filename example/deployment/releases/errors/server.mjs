// It starts, and then answers 500 to each tenth request.
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)

let requests = 0
app.get('/', async () => {
  if (++requests % 10 === 0) throw new Error('no such table: customers')
  return `release errors, pid ${process.pid}\n`
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })
