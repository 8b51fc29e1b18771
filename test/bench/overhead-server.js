import Fastify from 'fastify'

// However the benchmark ends, killed included, its server ends with it.
process.stdin.on('end', () => process.exit()).resume()

const app = Fastify()
if (process.env.PLUGIN === '1') await app.register(import('fastify-graceful-upgrade'))

app.get('/', async () => ({ hello: 'world' }))
app.get('/memory', async () => {
  global.gc()
  global.gc() // what the first one finalizes is freed by the second
  const { rss, heapUsed } = process.memoryUsage()
  return { rss, heapUsed, connections: await countConnections() }
})

await app.listen({ host: '127.0.0.1', port: 0 })
console.log(app.server.address().port)

function countConnections() {
  return new Promise((resolve, reject) => {
    app.server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
  })
}
