/** A server that logs to a file of its own: `mv app.log app.log.1; kill -HUP`, as logrotate does it. */
import { readFileSync, renameSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startServer } from '../helper/server.ts'
import { ask } from '../helper/supervised.ts'

t.test('once the old generation has retired nobody writes to the old file', async t => {
  const release = { fastify: { logger: { file: 'app.log' } }, options: { closeDelay: 600_000 } }
  const server = startServer(t, { release })
  const file = path.join(server.directory, 'app.log')
  const { bound } = await logged(file, 'listening on')
  const { port } = bound.at(-1)

  renameSync(file, `${file}.1`)
  server.kill('SIGHUP')
  const retired = await logged(file, 'generation retired')
  t.match(retired, { generation: 1, master: server.pid, generationPid: server.pid })
  const before = readFileSync(`${file}.1`, 'utf8')
  t.match(before, /generation spawned/, 'as it served then')

  server.deploy({ boot: 'exit3' })
  server.kill('SIGHUP')
  const { err, pid } = await logged(file, 'upgrade failed')
  t.match(err, {
    type: 'GracefulUpgradeError',
    code: 'GRACEFUL_UPGRADE_EXITED',
    lastWords: /configuration is missing/
  })
  t.equal(pid, (await ask(port)).pid, 'it was logged by the generation that serves')

  server.deploy(release)
  renameSync(file, `${file}.2`)
  server.kill('SIGHUP')
  await logged(file, 'generation retired')
  const second = readFileSync(`${file}.2`, 'utf8')

  server.kill('SIGTERM')
  await logged(file, 'serving on for closeDelay, a second signal skips it')
  server.kill('SIGINT')
  await logged(file, 'second signal, draining now')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(readFileSync(`${file}.1`, 'utf8') === before, true, 'nothing more was written to the first file')
  t.equal(readFileSync(`${file}.2`, 'utf8') === second, true, 'nor to the second one')
})

/** Waits for a line in a file, which may not be there yet. */
async function logged(file: string, msg: string): Promise<any> {
  const end = performance.now() + 60_000
  while (performance.now() < end) {
    try {
      for (const line of readFileSync(file, 'utf8').split('\n').slice(0, -1)) {
        if (JSON.parse(line).msg === msg) return JSON.parse(line)
      }
    } catch {} // it isn't there yet
    await sleep(20)
  }
  throw new Error(`no line ${msg} in ${file}`)
}
