import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { guardGroup } from '../../../lib/rehearsal/guard.js'
import { startServer } from '../../../lib/rehearsal/server.js'
import { temporaryFolder } from '../../helper/folder.ts'
import { cleanEnvironment, isRunning } from '../../helper/server.ts'

const announcer = path.resolve(import.meta.dirname, '../../../dist/rehearsal/announce.cjs')

const node = (script: string) => ({
  command: process.execPath,
  args: ['-e', script],
  env: cleanEnvironment(),
  directory: '/',
  announcer,
  isAlone: true
})

const never = new AbortController().signal

t.test('a program that ends before it serves is told of, with its last words', async t => {
  const server = startServer(node('console.error("no database"); process.exit(3)'))
  await t.rejects(server.serving(never), {
    code: 'GRACEFUL_UPGRADE_REHEARSAL',
    message: /did not start: it ended with exit code 3/,
    lastWords: 'no database'
  })
  await server.kill()
})

t.test('a program that is not there is told of', async t => {
  const server = startServer({ ...node(''), command: '/nowhere/node' })
  await t.rejects(server.serving(never), { message: /did not start: spawn \/nowhere\/node ENOENT/ })
  await server.kill()
})

t.test('what does not end on SIGTERM is killed, with all that it has started', async t => {
  const child = 'process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)'
  const script = `${child}; const { pid } = require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}]); console.log(pid)`
  const server = startServer(node(script))
  while (!/^\d+$/.test(server.output.lastWords())) await sleep(10)
  const grandchild = Number(server.output.lastWords())
  t.equal(await server.stop(100), false)
  t.match(await server.exited, { signal: 'SIGKILL' })
  while (isRunning(grandchild)) await sleep(10)
})

t.test('what its log calls an error is kept', async t => {
  const line = { level: 50, msg: 'closing failed', err: { message: 'the pool' } }
  const server = startServer(
    node(`console.log(JSON.stringify(${JSON.stringify(line)})); console.log('{"level":30,"msg":"fine"}')`)
  )
  await server.exited
  await server.output.closed
  t.same(server.output.complaints(), ['closing failed: the pool'])
  await server.kill()
})

t.test('a group ends when the process that guards it is killed', async t => {
  const group = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
    detached: true,
    stdio: 'ignore'
  })
  t.teardown(() => group.kill('SIGKILL'))
  const folder = path.join(temporaryFolder(t), 'of the rehearsal')
  mkdirSync(folder)
  const guard = new URL('../../../lib/rehearsal/guard.ts', import.meta.url).href
  const script = `const { guardGroup } = await import(${JSON.stringify(guard)}); guardGroup(${group.pid}, ${JSON.stringify(folder)}); console.log('on guard'); setInterval(() => {}, 1000)`
  const args = [...process.execArgv, '--input-type=module', '-e', script]
  const keeper = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(createInterface({ input: keeper.stdout! }), 'line')
  t.equal(group.exitCode ?? group.signalCode, null)
  keeper.kill('SIGKILL')
  const [, signal] = await once(group, 'exit')
  t.equal(signal, 'SIGKILL')
  while (existsSync(folder)) await sleep(10)
})

t.test('a guard that is dismissed ends nothing', async t => {
  const group = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
    detached: true,
    stdio: 'ignore'
  })
  t.teardown(() => group.kill('SIGKILL'))
  await once(group, 'spawn')
  const folder = temporaryFolder(t)
  const guard = guardGroup(group.pid!, folder)
  guard.dismiss()
  await guard.ended
  t.ok(existsSync(folder))
  t.equal(group.exitCode ?? group.signalCode, null)
})

t.test('an application without the plugin serves when it has listened for some time', async t => {
  const server = startServer(
    node(
      "require('node:http').createServer().listen(0, '127.0.0.1', function () { console.log(this.address().port) })"
    )
  )
  const { control, listeners, generation } = await server.serving(never)
  t.equal(control, undefined)
  t.same(listeners, [{ bound: `127.0.0.1:${server.output.lastWords()}` }])
  t.equal(generation, 1)
  await server.kill()
})
