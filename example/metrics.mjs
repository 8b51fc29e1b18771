// What Prometheus scrapes: the metrics of this package, which are the whole service's, and prom-client's, which are this
// process's. It needs prom-client.
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'
import { collectDefaultMetrics, Registry } from 'prom-client'

const app = Fastify({ logger: true })
await app.register(gracefulUpgrade)

const registry = new Registry(Registry.OPENMETRICS_CONTENT_TYPE)
registry.setDefaultLabels({ worker: app.gracefulUpgrade.worker })
collectDefaultMetrics({ register: registry })

app.get('/metrics', async (_request, reply) => {
  const [service, process] = await Promise.all([app.gracefulUpgrade.metrics(), registry.metrics()])
  return reply.type(registry.contentType).send(process.replace('# EOF\n', '') + service)
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })
