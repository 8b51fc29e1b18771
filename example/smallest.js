// node example/smallest.js, then from another terminal: kill -HUP <the pid that it prints>
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)

app.get('/', async () => ({ hello: 'world', pid: process.pid }))

await app.listen({ port: 3000 })
