import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { ask } from '../../../lib/client/ask.js'
import { findMaster } from '../../../lib/client/find.js'
import { controlPaths } from '../../../lib/control/place.js'
import { controlFolder, isRoot, noMaster, status, unusable } from '../../helper/control.ts'
import { cleanEnvironment } from '../../helper/server.ts'

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

t.test('a master is found by its pid', async t => {
  const { open } = controlFolder(t)
  const { path: file } = await open()
  t.equal(await findMaster(String(process.pid)), file)
  t.same(await ask(file, 'status'), status)
})

t.test('it is found also where it could not take the best place', async t => {
  const { open } = controlFolder(t)
  const paths = controlPaths(process.pid, process.geteuid!())
  const { path: file } = await open([paths.at(-1)!])
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
    const { open, asked } = controlFolder(t)
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
  const { open, folder: directory } = controlFolder(t)
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
  const { open, folder } = controlFolder(t)
  const { path: file } = await open()
  const pidFile = path.join(folder, 'app.pid')
  writeFileSync(pidFile, `${process.pid}\n`)
  t.equal(await findMaster(pidFile), file)
  writeFileSync(pidFile, 'hello\n')
  await t.rejects(findMaster(pidFile), { code: 'GRACEFUL_UPGRADE_PID_FILE' })
})

t.test('a control socket is its own address, if somebody listens', async t => {
  const { open, asked } = controlFolder(t)
  await t.rejects(findMaster(asked), {
    ...noMaster,
    message: /neither a process ID, nor is there such a file/
  })
  t.equal(await findMaster((await open(asked)).path), asked)
})

t.test('on a stale socket there is no master', async t => {
  const { asked } = controlFolder(t)
  const code = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  spawnSync(process.execPath, ['-e', code, asked], { env: cleanEnvironment() })
  t.ok(existsSync(asked))
  await t.rejects(findMaster(asked), { ...noMaster, message: /nobody listens on/ })
  await t.rejects(ask(asked, 'status'), noMaster)
})

t.test('a master is found by its directory, however it is spelled', async t => {
  const { open, folder } = controlFolder(t)
  const [real, link] = [path.join(folder, 'release'), path.join(folder, 'current')]
  mkdirSync(real)
  symlinkSync('release', link)
  await t.rejects(findMaster(real), { ...noMaster, message: /no master of this user serves from .*release/ })

  let directory = link
  const { path: file } = await open(undefined, { status: async () => ({ ...status, directory }) })
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
  const { open, folder } = controlFolder(t)
  const mine = async (pid: number) => ({ ...status, pid, directory: folder })
  const { path: file } = await open(undefined, { status: () => mine(process.pid) })
  await open([file.replace(/\d+\.sock$/, '999999999.sock')], { status: () => mine(999_999_999) })
  const message = new RegExp(`several masters .*: ${process.pid}, 999999999$`)
  await t.rejects(findMaster(folder), { code: 'GRACEFUL_UPGRADE_USAGE', message })
})
