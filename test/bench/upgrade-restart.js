// `fastify.close()` and a restart, on SIGHUP: the next process is started when the last one has exited.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'

process.stdin.on('end', () => process.exit()).resume()

let child = await start()
console.log('{"msg":"serving"}')

process.on('SIGHUP', async () => {
  child.kill('SIGTERM')
  await once(child, 'exit')
  child = await start()
  console.log('{"msg":"generation ready"}')
})

async function start() {
  const next = fork(path.join(import.meta.dirname, 'upgrade-server.js'))
  await once(next, 'message')
  return next
}
