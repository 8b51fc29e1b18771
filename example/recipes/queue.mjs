// A consumer of a queue, beside the server: BullMQ here. npm install bullmq ioredis; it needs Redis.
import { Worker } from 'bullmq'
import Fastify from 'fastify'
import gracefulUpgrade from 'fastify-graceful-upgrade'

// closeTimeout: more than the longest job takes. Who is ended in the middle of one has it done once more, by another.
const app = Fastify({ logger: true })
await app.register(gracefulUpgrade, { closeTimeout: 60_000 })

const connection = {
  host: process.env.REDIS_HOST ?? '127.0.0.1',
  port: Number(process.env.REDIS_PORT ?? 6379)
}
const consumer = new Worker('mails', send, { connection, concurrency: 4, autorun: false })
consumer.on('error', error => app.log.error({ err: error }, 'queue'))

// Not on a probation, and not beside the old consumer where two versions must not consume at once.
app.gracefulUpgrade.onServe(() => void consumer.run())
// It takes no new job from the moment in which the drain begins, and onClose waits for those that it has.
app.gracefulUpgrade.onDrain(() => void consumer.close())
app.addHook('onClose', () => consumer.close())

async function send(job) {
  app.log.info({ job: job.id, generation: app.gracefulUpgrade.generation }, 'mail sent')
}

app.get('/', async () => `generation ${app.gracefulUpgrade.generation}\n`)
await app.listen({ port: Number(process.env.PORT ?? 3000) })
