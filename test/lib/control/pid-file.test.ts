import { spawn, spawnSync } from 'node:child_process'
import fs, {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { openPidFile, readPidFile } from '../../../lib/control/pid-file.js'

const code = 'GRACEFUL_UPGRADE_PID_FILE'

/** A folder for one test, and the path of a pid file that is not there yet. */
function setUp(t: Test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return { folder, file: path.join(folder, 'app.pid') }
}

/** The id of a process that lives until the test ends. */
function livePid(t: Test): number {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  return child.pid as number
}

function deadPid(): number {
  return spawnSync('true').pid
}

t.test('opening writes nothing; writing names the process for all to read', async t => {
  const { folder, file } = setUp(t)
  const umask = process.umask(0o077)
  t.teardown(() => process.umask(umask))
  const pidFile = openPidFile(file)
  t.same(readdirSync(folder), [])

  pidFile.write()
  t.equal(readFileSync(file, 'utf8'), `${process.pid}\n`)
  t.equal(statSync(file).mode & 0o777, 0o644)
  t.same(readdirSync(folder), ['app.pid'], 'no temporary file stays')
  t.equal(readPidFile(file), process.pid)
})

t.test('writing again after an upgrade changes nothing', async t => {
  const { file } = setUp(t)
  const pidFile = openPidFile(file)
  pidFile.write()
  const { ino } = statSync(file)
  pidFile.write()
  t.equal(statSync(file).ino, ino)
  t.equal(readPidFile(file), process.pid)
})

t.test('a file that was lost is there again after the next upgrade', async t => {
  const { file } = setUp(t)
  const pidFile = openPidFile(file)
  pidFile.write()
  rmSync(file)
  pidFile.write()
  t.equal(readPidFile(file), process.pid)
})

t.test('our own id in the file is fine: in a container it is always 1', async t => {
  const { file } = setUp(t)
  writeFileSync(file, String(process.pid))
  openPidFile(file).write()
  t.equal(readFileSync(file, 'utf8'), String(process.pid), 'and is not written anew')
})

t.test('a file that names another live process is left to it', async t => {
  const { folder, file } = setUp(t)
  const pid = livePid(t)
  const pidFile = openPidFile(file)
  writeFileSync(file, `${pid}\n`)

  const message = new RegExp(`app.pid names process ${pid}, which is running: stop that server, or`)
  t.throws(() => openPidFile(file), { code, message })
  t.throws(() => pidFile.write(), { code, message }, 'also if it came meanwhile')
  pidFile.remove()
  t.equal(readFileSync(file, 'utf8'), `${pid}\n`)
  t.same(readdirSync(folder), ['app.pid'])
})

t.test('a process that may not be signalled is alive', async t => {
  const { file } = setUp(t)
  writeFileSync(file, '12345')
  const { kill } = process
  t.teardown(() => {
    process.kill = kill
  })
  process.kill = () => {
    throw Object.assign(new Error('not permitted'), { code: 'EPERM' })
  }
  t.throws(() => openPidFile(file), { code, message: /12345, which is running/ })
  t.equal(readPidFile(file), 12345)
})

t.test('what a dead process has left is replaced, and so is an empty file', async t => {
  for (const content of [String(deadPid()), `${deadPid()}\n`, '', '\n']) {
    const { file } = setUp(t)
    writeFileSync(file, content)
    const pidFile = openPidFile(file)
    t.equal(readFileSync(file, 'utf8'), content, 'not yet')
    pidFile.write()
    t.equal(readPidFile(file), process.pid)
  }
})

t.test('a file that is no pid file is never replaced or removed', async t => {
  const contents = [
    'precious',
    '0',
    '-1',
    '1.5',
    '12 34',
    '0x10',
    '9999999999',
    '99999999999',
    `1${' '.repeat(32)}`,
    '1e3'
  ]
  for (const content of contents) {
    const { file } = setUp(t)
    const pidFile = openPidFile(file)
    writeFileSync(file, content)
    t.throws(
      () => openPidFile(file),
      { code, message: /is no regular file with a process ID, and was left alone/ },
      content
    )
    t.throws(() => pidFile.write(), { code }, content)
    t.throws(() => readPidFile(file), { code }, content)
    pidFile.remove()
    t.equal(readFileSync(file, 'utf8'), content)
  }
})

t.test('a symbolic link is refused, wherever it leads', async t => {
  for (const target of ['precious', 'stale', 'ours', 'gone']) {
    const { folder, file } = setUp(t)
    const pidFile = openPidFile(file)
    writeFileSync(path.join(folder, 'precious'), 'precious')
    writeFileSync(path.join(folder, 'stale'), String(deadPid()))
    writeFileSync(path.join(folder, 'ours'), String(process.pid))
    symlinkSync(target, file)
    const files = readdirSync(folder)

    const refusal = { code, message: /app.pid is no regular file .* was left alone/ }
    t.throws(() => openPidFile(file), refusal, `to ${target}`)
    t.throws(() => pidFile.write(), refusal, `to ${target}, set meanwhile`)
    t.throws(() => readPidFile(file), refusal, `to ${target}, read`)
    pidFile.remove()
    t.ok(lstatSync(file).isSymbolicLink())
    t.same(readdirSync(folder), files, 'nothing was made or removed')
  }
})

t.test('what is no regular file is refused at once', async t => {
  const { folder } = setUp(t)
  mkdirSync(path.join(folder, 'folder'))
  spawnSync('mkfifo', [path.join(folder, 'fifo')])
  for (const file of ['folder', 'fifo'].map(name => path.join(folder, name)))
    t.throws(() => openPidFile(file), { code, message: /is no regular file/ })
  t.throws(() => openPidFile('/dev/null'), { code, message: /is no regular file/ })
})

t.test('a directory that is not there is said at once', async t => {
  const { folder } = setUp(t)
  writeFileSync(path.join(folder, 'file'), '')
  t.throws(() => openPidFile(path.join(folder, 'missing', 'app.pid')), {
    code,
    message: /the directory of .*app.pid must be there and writable \(ENOENT\)/
  })
  t.throws(() => openPidFile(path.join(folder, 'file', 'app.pid')), { code, message: /ENOTDIR/ })
})

t.test('a directory that is not writable is said at once', async t => {
  const { folder, file } = setUp(t)
  chmodSync(folder, 0o555)
  t.teardown(() => chmodSync(folder, 0o755))
  // root may write everywhere, so another process opens it as nobody
  const script = `
    import { openPidFile } from ${JSON.stringify(path.resolve(import.meta.dirname, '../../../lib/control/pid-file.ts'))}
    if (process.getuid() === 0) process.setuid(65534)
    try { openPidFile(${JSON.stringify(file)}) } catch (error) { console.log(error.code, error.message) }
  `
  const { stdout } = spawnSync(
    process.execPath,
    [...process.execArgv, '--input-type=module', '--eval', script],
    { encoding: 'utf8' }
  )
  t.match(stdout, new RegExp(`^${code} .*must be there and writable \\(EACCES\\)`))
})

t.test('no temporary file stays where writing fails', async t => {
  for (const name of ['writeFileSync', 'chmodSync', 'renameSync'] as const) {
    const { folder, file } = setUp(t)
    const pidFile = openPidFile(file)
    const original = fs[name] as (...args: unknown[]) => unknown
    let during: string[] = []
    Object.assign(fs, {
      [name](...args: unknown[]) {
        if (name === 'writeFileSync') original(...args) // as if it had written a part
        during = readdirSync(folder)
        throw Object.assign(new Error('disk is full'), { code: 'ENOSPC' })
      }
    })
    syncBuiltinESMExports()
    try {
      t.throws(() => pidFile.write(), { code, message: /can't be written: .*\(ENOSPC\)/ }, name)
    } finally {
      Object.assign(fs, { [name]: original })
      syncBuiltinESMExports()
    }
    t.same(during, [`.app.pid.${process.pid}`], 'it was there in the same directory')
    t.same(readdirSync(folder), [])
  }
})

t.test('a temporary file that a killed process of the same id has left is no obstacle', async t => {
  const { folder, file } = setUp(t)
  const precious = path.join(folder, 'precious')
  writeFileSync(precious, 'precious')
  symlinkSync(precious, path.join(folder, `.app.pid.${process.pid}`))
  openPidFile(file).write()
  t.equal(readPidFile(file), process.pid)
  t.equal(readFileSync(precious, 'utf8'), 'precious', 'and nothing is written through a link of its name')
  t.same(readdirSync(folder), ['app.pid', 'precious'])
})

t.test('removing is done once, and never throws', async t => {
  const { folder, file } = setUp(t)
  const pidFile = openPidFile(file)
  pidFile.remove()
  pidFile.write()
  pidFile.remove()
  t.same(readdirSync(folder), [])
  pidFile.remove()
  mkdirSync(file)
  pidFile.remove()
  t.ok(lstatSync(file).isDirectory())
})

t.test('a relative path stays what it was when the working directory changes', async t => {
  const { folder, file } = setUp(t)
  const here = process.cwd()
  t.teardown(() => process.chdir(here))
  process.chdir(folder)
  const pidFile = openPidFile('app.pid')
  process.chdir(here)
  pidFile.write()
  t.equal(readPidFile(file), process.pid)
  pidFile.remove()
  t.notOk(existsSync(file))
})

t.test('who reads is told what to do', async t => {
  const { file } = setUp(t)
  t.throws(() => readPidFile(file), {
    code,
    message: /isn't there or is empty: start the server with --pid-file/
  })
  writeFileSync(file, '')
  t.throws(() => readPidFile(file), { code, message: /isn't there or is empty/ })
  const pid = deadPid()
  writeFileSync(file, `${pid}\n`)
  t.throws(() => readPidFile(file), { code, message: new RegExp(`names process ${pid}, which has ended`) })
})
