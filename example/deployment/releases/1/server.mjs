import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)

app.get('/', async () => `release 1, pid ${process.pid}\n`)

await app.listen({ port: Number(process.env.PORT ?? 3000) })
