import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { Log } from '../../../lib/log.js'
import { type Spawn, spawnWorker } from '../../../lib/master/spawn.js'
import { readInheritance } from '../../../lib/protocol/inheritance.js'
import { temporaryFolder } from '../../helper/folder.ts'
import { PlayedChild } from '../../helper/played-end.ts'
import { cleanEnvironment } from '../../helper/server.ts'

const log = {} as Log
const never = () => new Promise<never>(() => {})

function spawnPlayed(
  given: { command?: string; directory: string; environment?: NodeJS.ProcessEnv },
  run?: Spawn
) {
  const context = {
    command: 'node',
    args: ['server.js', '--port=0'],
    environment: cleanEnvironment(),
    ...given
  }
  const listeners = [
    { key: 'tcp::3000', bound: '0.0.0.0:3000', fd: 17 },
    { key: 'unix:app.sock', bound: 'app.sock', fd: 23 }
  ]
  const settings = { context, log, standardError: { fd: 9, write() {} }, readyTimeout: 60_000 }
  return spawnWorker(
    settings,
    {
      number: 4,
      listeners,
      succeeds: 'master',
      onUpgrade: never,
      onJudge: never,
      onInquire: never,
      onOffer: never
    },
    run
  )
}

t.test('a worker is born with its listeners, its number, and what leads to its master', async t => {
  let born: [string, readonly string[], SpawnOptions] | undefined
  const { pid } = spawnPlayed({ directory: '/srv', environment: { HOME: '/home/me' } }, (...words) => {
    born = words
    return new PlayedChild() as unknown as ChildProcess
  })
  t.equal(pid, 4_711)
  const [command, args, { cwd, env, stdio }] = born!
  t.same([command, args, cwd], ['node', ['server.js', '--port=0'], '/srv'])
  t.same(stdio, ['inherit', 'inherit', 'pipe', 'ipc', 9, 17, 23])
  const { FASTIFY_GRACEFUL_UPGRADE: variable, ...rest } = env!
  t.same(rest, { HOME: '/home/me' })
  const inheritance = {
    generation: 4,
    listeners: [
      { key: 'tcp::3000', bound: '0.0.0.0:3000', fd: 5 },
      { key: 'unix:app.sock', bound: 'app.sock', fd: 6 }
    ],
    master: process.pid,
    standardError: 4,
    succeeds: 'master'
  }
  t.same(JSON.parse(variable!), inheritance, 'word for word, as other versions read it')
  t.same(
    readInheritance(variable, process.pid, () => true),
    inheritance
  )
})

/** Why the system has not started it. */
async function failure(t: Test, command: string, directory = temporaryFolder(t)) {
  const { failed, ended, pid } = spawnPlayed({ command, directory }, (command, args, options) => {
    // The descriptors that are passed on above aren't those of this process.
    return spawn(command, args, { ...options, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
  })
  t.equal(pid, 0)
  t.same(await ended, { code: null, signal: null })
  return failed
}

t.test('where the working directory has gone, the error names it', async t => {
  const gone = path.join(temporaryFolder(t), 'release')
  const { code, message } = await failure(t, 'node', gone)
  t.equal(code, 'GRACEFUL_UPGRADE_SPAWN_FAILED')
  t.match(message, `there is no directory ${gone}`)
  t.notMatch(message, /ENOENT/)
  writeFileSync(gone, '')
  await t.rejects(failure(t, 'node', gone), { message: /^there is no directory/ }, 'nor a file')
})

t.test('where the program is missing, the error names that', async t => {
  const { code, message } = await failure(t, './server')
  t.equal(code, 'GRACEFUL_UPGRADE_SPAWN_FAILED')
  t.match(message, /\.\/server in .*: there is no such program/)
})
