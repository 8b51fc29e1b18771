import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ask } from '../../../lib/client/ask.js'
import { findMaster } from '../../../lib/client/find.js'
import { controlPaths } from '../../../lib/control/place.js'
import { lost } from '../../helper/control.ts'
import { cleanEnvironment } from '../../helper/server.ts'

/**
 * A process that listens where a master of its pid would, and ends at a request without an answer: it may say before
 * that it has taken it.
 */
async function mortal(t: Test, { greets = false, survives = false } = {}) {
  const code = `
    const server = require('node:net').createServer(socket => socket.on('error', () => {}).once('data', () => {
      const taken = { progress: { stage: 'stopping', pid: process.pid } }
      if (process.argv[2] === 'greets') socket.write(JSON.stringify(taken) + '\\n')
      if (process.argv[3] === 'survives') socket.destroy(), server.close(), setInterval(() => {}, 1_000)
      else setTimeout(() => process.kill(process.pid, 'SIGKILL'), 50)
    }))
    server.listen(process.argv[1].replace('PID', process.pid), () => console.log(process.pid))
  `
  const file = controlPaths(12_345, process.geteuid!()).at(-1)!.replace('12345', 'PID')
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  const args = ['-e', code, file, greets ? 'greets' : '-', survives ? 'survives' : '-']
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: cleanEnvironment()
  })
  t.teardown(() => {
    child.kill('SIGKILL')
    rmSync(file.replace('PID', String(child.pid)), { force: true })
  })
  const [said] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])
  t.equal(String(said), `${child.pid}\n`, 'it listens')
  return child.pid!
}

/** A process that a master with this pid would have started as its worker. */
async function workerOf(t: Test, master: number) {
  const inheritance = { generation: 1, listeners: [], master, standardError: 2, succeeds: 'none' }
  const env = { PATH: process.env.PATH, FASTIFY_GRACEFUL_UPGRADE: JSON.stringify(inheritance) }
  const child = spawn('sleep', ['100'], { stdio: 'ignore', env })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  return child
}

const needsProc = { skip: !existsSync('/proc/self/environ') && 'there is no /proc' }

t.test(
  'a master that has ended before it answers is stopped, if nothing of it lives on',
  needsProc,
  async t => {
    const pid = await mortal(t)
    t.equal(await ask(await findMaster(String(pid)), 'stop'), undefined)
    const other = await mortal(t)
    await t.rejects(ask(await findMaster(String(other)), 'reload'), { ...lost, message: /it went away/ })
  }
)

t.test(
  'a master that has ended before it took the order leaves a worker behind that serves',
  needsProc,
  async t => {
    const pid = await mortal(t)
    const worker = await workerOf(t, pid)
    const message = new RegExp(`process ${worker.pid} of it goes on, as its own master`)
    await t.rejects(ask(await findMaster(String(pid)), 'stop'), { ...lost, message })
  }
)

t.test(
  'a master that has ended when it had taken the order is stopped when its last worker has',
  needsProc,
  async t => {
    const pid = await mortal(t, { greets: true })
    const worker = await workerOf(t, pid)
    let isOver = false
    const stop = ask(await findMaster(String(pid)), 'stop').then(() => {
      isOver = true
    })
    while (existsSync(`/proc/${pid}`)) await new Promise(setImmediate)
    await new Promise(setImmediate)
    t.notOk(isOver)
    worker.kill()
    await stop
  }
)

t.test('a process that takes its control socket away, and runs on, is not stopped', needsProc, async t => {
  const pid = await mortal(t, { greets: true, survives: true })
  const giveUp = new AbortController()
  const stop = ask(await findMaster(String(pid)), 'stop', undefined, giveUp.signal)
  const first = await Promise.race([stop.then(() => 'stopped'), sleep(500, 'waiting')])
  t.equal(first, 'waiting')
  giveUp.abort()
  await t.rejects(stop, lost)
})
