import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)

app.get('/', async () => `generation ${app.gracefulUpgrade.generation}, pid ${process.pid}\n`)

await app.listen({ port: 3000 })
