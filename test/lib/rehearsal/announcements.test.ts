/** What real processes say of themselves, as they are started by a rehearsal. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { createAnnouncements } from '../../../lib/rehearsal/announcements.js'
import { cleanEnvironment, fixtures } from '../../helper/server.ts'

const program = path.resolve(import.meta.dirname, '../../../dist/rehearsal/announce.cjs')

function announce(t: Test, env: NodeJS.ProcessEnv = {}) {
  let time = 0
  const now = () => time
  const announcements = createAnnouncements(
    { ...cleanEnvironment(), ...env },
    { program, patience: 1_000, now }
  )
  t.teardown(announcements.close)
  return { ...announcements, start, pass: (ms: number) => void (time += ms) }

  /** @returns when it has printed a line */
  async function start(...args: string[]) {
    const child = spawn(process.execPath, args, {
      env: announcements.env,
      cwd: fixtures,
      stdio: ['pipe', 'pipe', 'inherit']
    })
    t.teardown(() => child.kill('SIGKILL'))
    const [line] = await once(createInterface(child.stdout), 'line')
    return { pid: child.pid, line: String(line) }
  }
}

const listen =
  "require('node:net').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })"

const register = `
import { createServer } from 'node:http'
import Fastify from 'fastify'
import gracefulUpgrade from '../../dist/index.js'
createServer().listen(0, '127.0.0.1', async () => {
  const app = Fastify()
  await app.register(gracefulUpgrade)
  console.log('registered')
})`

t.test('who listens, and does not register the plugin for some time, has no use for it', async t => {
  const { unregistered, start, pass } = announce(t)
  t.equal(unregistered(undefined), undefined)
  const { pid, line } = await start('-e', listen)
  t.equal(unregistered(undefined), undefined, 'it may register it yet')
  pass(1_000)
  t.same(unregistered(undefined), [`127.0.0.1:${line}`])
  t.equal(unregistered(pid), undefined, 'a master listens for commands')
})

t.test('who registers it has a use for it, wherever else it listens', async t => {
  const { unregistered, start, pass } = announce(t)
  await start('--input-type=module', '-e', register)
  t.equal(unregistered(undefined), undefined)
  pass(1_000_000)
  t.equal(unregistered(undefined), undefined)
})

t.test('options for Node.js that are there stay, and nothing is left behind', async t => {
  const { env, start, unregistered, pass, close } = announce(t, { NODE_OPTIONS: '--title=mine' })
  const { line } = await start('-e', 'console.log(process.title)')
  t.equal(line, 'mine')
  pass(5_000)
  t.equal(unregistered(undefined), undefined, 'it does not listen')
  close()
  t.notOk(existsSync(path.dirname(env.GRACEFUL_UPGRADE_ANNOUNCEMENTS!)))
  t.equal(unregistered(undefined), undefined)
})
