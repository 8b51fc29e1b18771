import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import net, { type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { controlPaths, type Progress } from '../../lib/control.js'
import { ask, findMaster } from '../../lib/control-client.js'
import { type ControlHandlers, openControl } from '../../lib/control-server.js'
import { GracefulUpgradeError } from '../../lib/errors.js'
import { isRoot, never, status } from '../helper/control.ts'
import { cleanEnvironment } from '../helper/server.ts'

function setUp(t: Test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  chmodSync(folder, 0o755)
  const ends: (() => unknown)[] = []
  t.teardown(async () => {
    for (const end of ends) await end()
    rmSync(folder, { recursive: true })
  })
  return { folder, asked: path.join(folder, 'app.sock'), open, listen, pretend }

  /** A real control socket; without a path where that of this process belongs. */
  async function open(where?: string | string[], some: Partial<ControlHandlers> = {}): Promise<string> {
    const handlers = { status: async () => status, reload: never, stop: never, ...some }
    const control = await openControl(handlers, where)
    ends.push(() => control.close())
    return control.path
  }

  async function listen(file: string, onConnection: (socket: Socket) => void): Promise<void> {
    const server = net.createServer(socket => onConnection(socket.on('error', () => {})))
    ends.push(() => new Promise(resolve => server.close(resolve)))
    await once(server.listen(file), 'listening')
  }

  /** A master that says just this to whatever it is asked. */
  async function pretend(file: string, answer: string): Promise<void> {
    await listen(file, socket => socket.once('data', () => socket.end(answer)))
  }
}

/** A process that sleeps until the end of the test. */
async function sleeper(t: Test, user?: number): Promise<number> {
  const identity = user === undefined ? {} : { uid: user, gid: user }
  const child = spawn('sleep', ['100'], { stdio: 'ignore', ...identity })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'close')
  })
  await once(child, 'spawn')
  return child.pid!
}

/** A process ID that no process has. */
function deadPid(): number {
  return spawnSync('true').pid
}

async function as<T>(user: number, run: () => Promise<T>): Promise<T> {
  process.seteuid!(user)
  try {
    return await run()
  } finally {
    process.seteuid!(0)
  }
}

const noMaster = { code: 'GRACEFUL_UPGRADE_NO_MASTER' }
const unusable = { code: 'GRACEFUL_UPGRADE_CONTROL_SOCKET' }
const lost = { code: 'GRACEFUL_UPGRADE_MASTER_LOST' }

t.test('a master is found by its pid', async t => {
  const { open } = setUp(t)
  const file = await open()
  t.equal(await findMaster(String(process.pid)), file)
  t.same(await ask(file, 'status'), status)
})

t.test('it is found also where it could not take the best place', async t => {
  const { open } = setUp(t)
  const paths = controlPaths(process.pid, process.geteuid!())
  const file = await open([paths.at(-1)!])
  t.equal(await findMaster(String(process.pid)), file)
})

t.test('a process that is no master is told from one that is not there', async t => {
  const pid = await sleeper(t)
  await t.rejects(findMaster(String(pid)), {
    ...noMaster,
    message: `process ${pid} runs, but it is not a master`
  })
  const dead = deadPid()
  await t.rejects(findMaster(String(dead)), { ...noMaster, message: `there is no process ${dead}` })
})

t.test(
  "another user's master is out of reach, and the error says whose it is",
  { skip: !isRoot },
  async t => {
    const { open, asked } = setUp(t)
    const pid = await sleeper(t)
    await open([controlPaths(pid, 0).at(-1)!])
    const message = /belongs to uid 0: ask as this user, or as root/
    await as(65534, () => t.rejects(findMaster(String(pid)), { ...unusable, message }))
    await open(asked)
    await as(65534, () => t.rejects(findMaster(asked), { ...unusable, message }))
    await as(65534, () => t.rejects(ask(asked, 'status'), { ...unusable, message }))
  }
)

t.test('root finds the master of another user', { skip: !isRoot }, async t => {
  const { open, folder: directory } = setUp(t)
  const pid = await sleeper(t, 65534)
  const file = controlPaths(pid, 65534).at(-1)!
  t.teardown(() => rmSync(path.dirname(file), { recursive: true, force: true }))
  await as(65534, () => open([file], { status: async () => ({ ...status, directory }) }))
  t.equal(await findMaster(String(pid)), file)
  t.equal(await findMaster(directory), file, 'by its directory too')
  chmodSync(path.dirname(file), 0o755)
  await t.rejects(findMaster(String(pid)), noMaster, 'unless others could have put something there')
})

t.test('a master is found by its pid file', async t => {
  const { open, folder } = setUp(t)
  const file = await open()
  const pidFile = path.join(folder, 'app.pid')
  writeFileSync(pidFile, `${process.pid}\n`)
  t.equal(await findMaster(pidFile), file)
  writeFileSync(pidFile, 'hello\n')
  await t.rejects(findMaster(pidFile), { code: 'GRACEFUL_UPGRADE_PID_FILE' })
})

t.test('a control socket is its own address, if somebody listens', async t => {
  const { open, asked } = setUp(t)
  await t.rejects(findMaster(asked), {
    ...noMaster,
    message: /neither a process ID, nor is there such a file/
  })
  t.equal(await findMaster(await open(asked)), asked)
})

t.test('on a stale socket there is no master', async t => {
  const { asked } = setUp(t)
  const code = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', code, asked], { env: cleanEnvironment() })
  t.ok(existsSync(asked))
  await t.rejects(findMaster(asked), { ...noMaster, message: /nobody listens on/ })
  await t.rejects(ask(asked, 'status'), noMaster)
})

t.test('a master is found by its directory, however it is spelled', async t => {
  const { open, folder } = setUp(t)
  const [real, link] = [path.join(folder, 'release'), path.join(folder, 'current')]
  mkdirSync(real)
  symlinkSync('release', link)
  await t.rejects(findMaster(real), { ...noMaster, message: /no master of this user serves from .*release/ })

  let directory = link
  const file = await open(undefined, { status: async () => ({ ...status, directory }) })
  for (const target of [link, real, `${real}/`, path.relative('.', link)]) {
    t.equal(await findMaster(target), file, target)
  }
  directory = real
  t.equal(await findMaster(link), file)
  await t.rejects(findMaster(folder), noMaster)

  rmSync(link)
  symlinkSync('next', link)
  mkdirSync(path.join(folder, 'next'))
  directory = link
  t.equal(await findMaster(link), file, 'the link may lead elsewhere by now')
})

t.test('of several masters in one directory none is chosen', async t => {
  const { open, folder } = setUp(t)
  const mine = async (pid: number) => ({ ...status, pid, directory: folder })
  const file = await open(undefined, { status: () => mine(process.pid) })
  await open([path.join(path.dirname(file), '999999999.sock')], { status: () => mine(999_999_999) })
  const message = new RegExp(`several masters .*: ${process.pid}, 999999999$`)
  await t.rejects(findMaster(folder), { code: 'GRACEFUL_UPGRADE_USAGE', message })
})

t.test('the progress of a reload comes in order, and before its end', async t => {
  const { open, asked } = setUp(t)
  const counts = { fresh: 0, idle: 2, active: 1, detached: 0 }
  const told: Progress[] = [
    { stage: 'booting', generation: 2, pid: 12 },
    { stage: 'ready', generation: 2, pid: 12, ms: 5 },
    { stage: 'draining', generation: 1, pid: 11, connections: counts },
    { stage: 'draining', generation: 1, pid: 11, connections: null },
    { stage: 'retired', generation: 1, pid: 11, ms: 7, code: null, signal: 'SIGKILL', report: null }
  ]
  const heard: Progress[] = []
  await open(asked, {
    async reload(onProgress) {
      for (const progress of told) onProgress(progress)
    }
  })
  t.equal(await ask(asked, 'reload', progress => heard.push(progress)), undefined)
  t.same(heard, told)
})

t.test('an error of the other side arrives as it was', async t => {
  const { open, asked, pretend } = setUp(t)
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'exit code 1', {
    lastWords: 'no database'
  })
  await open(asked, { reload: () => Promise.reject(error) })
  const received = await ask(asked, 'reload').catch(error => error)
  t.ok(received instanceof GracefulUpgradeError)
  t.match(received, { code: error.code, message: error.message, lastWords: 'no database' })
  await pretend(`${asked}2`, '{"error":{"code":"GRACEFUL_UPGRADE_OF_2040","message":"too old"}}\n')
  await t.rejects(
    ask(`${asked}2`, 'reload'),
    { ...unusable, message: 'too old' },
    'also with an unknown code'
  )
})

t.test('a master that goes without an answer is lost', async t => {
  const { pretend, listen, asked } = setUp(t)
  await pretend(asked, '')
  await t.rejects(ask(asked, 'reload'), lost)
  await pretend(`${asked}2`, '{"progress":{"stage":"booting","generation":2,"pid":12}}\n{"resu')
  await t.rejects(ask(`${asked}2`, 'status'), lost)
  await listen(`${asked}3`, socket => socket.destroy())
  await t.rejects(ask(`${asked}3`, 'status'), lost)
})

t.test('a stop has succeeded when the connection ends, and not before', async t => {
  const { listen, pretend, asked } = setUp(t)
  await pretend(asked, '')
  t.equal(await ask(asked, 'stop'), undefined)

  let peer: Socket | undefined
  await listen(`${asked}2`, socket => {
    peer = socket
    const later = { progress: { stage: 'booting', generation: 2, pid: 12 } }
    socket.once('data', () => socket.write(`{"result":null}\n${JSON.stringify(later)}\n`))
  })
  let isOver = false
  let stop: Promise<void> = never()
  await new Promise<unknown>(resolve => {
    stop = ask(`${asked}2`, 'stop', resolve).then(() => {
      isOver = true
    })
  })
  await new Promise(setImmediate)
  t.notOk(isOver)
  peer?.end()
  await stop

  await pretend(`${asked}3`, '{"error":{"code":"GRACEFUL_UPGRADE_USAGE","message":"too many"}}\n')
  await t.rejects(ask(`${asked}3`, 'stop'), { message: 'too many' })
})

t.test('what a later version says besides is passed over', async t => {
  const { pretend, asked } = setUp(t)
  const later = [
    '{"hint":1}',
    '{"progress":{"stage":"stretching","generation":2,"pid":1}}',
    '{"progress":null}'
  ]
  await pretend(asked, [...later, '{"result":null,"more":1}', ''].join('\n'))
  const heard: Progress[] = []
  await ask(asked, 'reload', progress => heard.push(progress))
  t.same(heard, [])
})

t.test('what is no master is found out', async t => {
  const { pretend, asked } = setUp(t)
  const answers = ['HTTP/1.1 400 Bad Request\n', '7\n', '{"error":"no"}\n', `{"${'x'.repeat(2 ** 20)}`]
  for (const [index, answer] of answers.entries()) {
    await pretend(`${asked}${index}`, answer)
    await t.rejects(ask(`${asked}${index}`, 'reload'), { ...unusable, message: /is no master/ })
  }
  await pretend(asked, '{"result":{"pid":"1"}}\n')
  await t.rejects(ask(asked, 'status'), { ...unusable, message: /answers with no status/ })
})

t.test('who gives up waiting leaves the command running', async t => {
  const { open, asked } = setUp(t)
  let finish: () => void = () => {}
  const gate = new Promise<void>(resolve => {
    finish = resolve
  })
  let reloaded: Promise<void> | undefined
  await open(asked, {
    reload(onProgress) {
      onProgress({ stage: 'booting', generation: 2, pid: 12 })
      reloaded = gate
      return gate
    }
  })
  const giveUp = new AbortController()
  const reload = ask(asked, 'reload', () => giveUp.abort(), giveUp.signal)
  await t.rejects(reload, lost)
  finish()
  await reloaded
  t.same(await ask(asked, 'status'), status)
  await t.rejects(ask(asked, 'status', undefined, AbortSignal.abort()), lost)
})
