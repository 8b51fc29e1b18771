import { type ChildProcess, spawn } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import net, { type Socket } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { controlPaths } from '../../../lib/control/place.js'
import { openControl } from '../../../lib/control/server.js'
import { watchListeners } from '../../../lib/listeners/listeners.js'
import { compile } from '../../helper/compile.ts'
import { controlFolder, handlers, hear, isRoot, say, status, unusable } from '../../helper/control.ts'
import { cleanEnvironment } from '../../helper/server.ts'

const uid = process.geteuid!()

const reloadLine = '{"command":"reload"}\n'
const statusLine = '{"command":"status"}\n'

/** A process that listens on a path. */
async function child(t: Test, file: string): Promise<ChildProcess> {
  const code = `require('net').createServer(s => s.on('error', () => {}).end('other\\n')).listen(process.argv[1], () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', code, file], {
    env: cleanEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => kill(child))
  await once(child.stdout!, 'data')
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'close')
}

function mode(file: string): string {
  return (lstatSync(file).mode & 0o7777).toString(8)
}

t.test('without a path the first of the derived ones is taken', async t => {
  const control = await openControl(handlers)
  t.teardown(control.close)
  t.ok(controlPaths(process.pid, uid).includes(control.path))
  t.equal(mode(control.path), '600')
  t.equal(mode(path.dirname(control.path)), '700')
})

t.test('the directory is made for its owner alone, also under a generous umask', async t => {
  const { folder, open } = controlFolder(t)
  const own = path.join(folder, 'own', '1.sock')
  const before = process.umask(0)
  try {
    await open([own])
  } finally {
    process.umask(before)
  }
  t.equal(mode(path.dirname(own)), '700')
  t.equal(mode(own), '600')
  t.same(readdirSync(path.dirname(own)), ['1.sock'], 'and nothing else is left there')
})

t.test('a directory that others could use is refused, and the next place is taken', async t => {
  const { folder, open } = controlFolder(t)
  const place = (name: string) => path.join(folder, name, '1.sock')
  mkdirSync(path.dirname(place('open755')), { mode: 0o755 })
  mkdirSync(path.dirname(place('real')), { mode: 0o700 })
  symlinkSync('real', path.join(folder, 'link'))
  symlinkSync('gone', path.join(folder, 'dangling'))
  const reasons: [string, RegExp][] = [
    ['open755', /open755 is open to others: its mode is 755, not 700/],
    ['link', /link is a link/],
    ['dangling', /dangling is a link/]
  ]
  for (const [name, message] of reasons) await t.rejects(open([place(name)]), { ...unusable, message }, name)
  t.same(readdirSync(path.join(folder, 'real')), [], 'nothing was made behind the link')
  t.notOk(existsSync(path.join(folder, 'gone')))
  t.equal(mode(path.dirname(place('open755'))), '755', 'and nothing was mended')
  t.equal((await open([place('open755'), place('link'), place('own')])).path, place('own'))
})

t.test('who becomes another user meanwhile has the socket of that user', { skip: !isRoot }, async t => {
  const opening = openControl(handlers)
  process.seteuid!(65534)
  const control = await opening.finally(() => process.seteuid!(0))
  t.teardown(control.close)
  const { path: file } = control
  t.ok(controlPaths(process.pid, 65534).includes(file), file)
  t.equal(statSync(path.dirname(file)).uid, 65534)
  t.equal(statSync(file).uid, 65534)
  for (const other of controlPaths(process.pid, 0)) {
    const directory = path.dirname(other)
    t.equal(statSync(directory, { throwIfNoEntry: false })?.uid ?? 0, 0, `${directory} is left to root`)
    t.notOk(existsSync(other))
  }
})

t.test('a path of an option is bound out of sight, and can be opened by its owner alone', async t => {
  const { folder, asked, open } = controlFolder(t)
  chmodSync(folder, 0o1777)
  const seen: string[] = []
  const look = (message: any) => {
    const bound = message.server.address()
    if (!String(bound).startsWith(folder)) return
    seen.push(mode(path.dirname(bound)))
    seen.push(String(existsSync(asked)))
  }
  subscribe('tracing:net.server.listen:asyncEnd', look)
  t.teardown(() => unsubscribe('tracing:net.server.listen:asyncEnd', look))
  const before = process.umask(0)
  await open(asked).finally(() => process.umask(before))
  t.same(seen, ['700', 'false'], 'when it is bound nobody else can reach it')
  t.equal(mode(asked), '600')
  t.same(readdirSync(folder), ['app.sock'])
  if (!isRoot) return
  process.seteuid!(65534)
  try {
    const [error] = await once(net.connect(asked), 'error').catch(error => [error])
    t.equal(error.code, 'EACCES')
  } finally {
    process.seteuid!(0)
  }
})

t.test(
  'a path of an option is not used where anybody could exchange it, or there is no directory',
  async t => {
    const { folder, asked, open } = controlFolder(t)
    chmodSync(folder, 0o777)
    await t.rejects(open(asked), { ...unusable, message: /everybody may write to/ })
    await t.rejects(open(path.join(folder, 'no', 'app.sock')), { ...unusable, message: /ENOENT/ })
    t.same(readdirSync(folder), [])
  }
)

t.test(
  'what killed masters have left in the derived directory is removed, and no more than that',
  async t => {
    const { folder, open } = controlFolder(t)
    const own = path.join(folder, 'own', '1.sock')
    const control = await open([own])
    const beside = (name: string) => path.join(path.dirname(own), name)
    await kill(await child(t, beside('4711.sock')))
    await kill(await child(t, beside('4026532201-1.sock')))
    await child(t, beside('4712.sock'))
    writeFileSync(beside('4713.sock'), '')
    writeFileSync(beside('notes'), '')
    for (const name of ['.oldOne', '.newOne']) mkdirSync(beside(name))
    writeFileSync(beside('.oldOne/s'), '')
    utimesSync(beside('.oldOne'), 0, 0)
    control.close()
    await open([own])
    while (
      existsSync(beside('4711.sock')) ||
      existsSync(beside('4026532201-1.sock')) ||
      existsSync(beside('.oldOne'))
    )
      await turn()
    t.same(readdirSync(path.dirname(own)).sort(), ['.newOne', '1.sock', '4712.sock', '4713.sock', 'notes'])
  }
)

t.test('nothing but the directory of the socket must be writable', { skip: !isRoot }, async t => {
  const folder = mkdtempSync('/tmp/fgu-')
  t.teardown(() => rmSync(folder, { recursive: true }))
  chmodSync(folder, 0o755)
  const own = path.join(folder, 'own')
  mkdirSync(own)
  chownSync(own, 65_534, 65_534)
  // Where node_modules is may be closed to others, and Node.js needs nothing of it.
  const library = compile('control/server', folder)
  const code = `
    const { openControl } = await import(process.argv[1])
    const control = await openControl({}, process.argv[2])
    console.log(JSON.stringify(control.path))
    control.close()
  `
  const file = path.join(own, 'app.sock')
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, library, file], {
    uid: 65_534,
    gid: 65_534,
    cwd: '/',
    env: {},
    stdio: ['ignore', 'pipe', 'inherit']
  })
  let output = ''
  child.stdout!.on('data', chunk => (output += chunk))
  await once(child, 'close')
  t.equal(output.trim(), JSON.stringify(file))
  t.same(readdirSync(folder).sort(), ['own', 'server.mjs'])
})

t.test('the socket that a killed process has left is replaced', async t => {
  const { asked, open, connect } = controlFolder(t)
  const other = await child(t, asked)
  await kill(other)
  t.ok(lstatSync(asked).isSocket())
  await open(asked)
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('the socket of a live process is left to it', async t => {
  const { folder, asked, open, connect } = controlFolder(t)
  await child(t, asked)
  const { ino } = statSync(asked)
  await t.rejects(open(asked), { ...unusable, message: /another server listens on .*app\.sock/ })
  t.equal(statSync(asked).ino, ino)
  t.same(readdirSync(folder), ['app.sock'])
  const other = await connect(asked)
  t.equal(String((await once(other, 'data'))[0]), 'other\n')
})

t.test('a file of another kind is left alone', async t => {
  const { folder, asked, open } = controlFolder(t)
  writeFileSync(asked, 'precious')
  await t.rejects(open(asked), { ...unusable, message: /app\.sock is there already, and is not a socket/ })
  t.ok(lstatSync(asked).isFile())
  const link = path.join(folder, 'link')
  symlinkSync('nowhere', link)
  await t.rejects(open(link), unusable)
  t.ok(lstatSync(link).isSymbolicLink())
})

t.test('a path that is too long is refused by its length', async t => {
  const { folder, open } = controlFolder(t)
  const file = path.join(folder, 'x'.repeat(108 - folder.length - 1))
  t.equal(file.length, 108)
  await t.rejects(open(file), { ...unusable, message: /is too long: it would take 108 bytes/ })
  t.same(readdirSync(folder), [])
  if (process.platform === 'linux') t.equal((await open(file.slice(0, -1))).path.length, 107)
})

t.test('close() removes the file, ends the connections, and does so once', async t => {
  const { folder, asked, open, connect } = controlFolder(t)
  const control = await open(asked)
  const idle = await connect(asked)
  const ended = hear(idle)
  control.close()
  t.same(readdirSync(folder), [])
  t.same(await ended, [])
  const next = await open(asked)
  control.close()
  t.same(await say(await connect(next.path), statusLine), [{ result: status }])
})

t.test('close() leaves the file of whoever took its place', async t => {
  const { asked, open, connect } = controlFolder(t)
  const first = await open(asked)
  renameSync((await open(`${asked}2`)).path, asked)
  first.close()
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('it is no listener of the application', async t => {
  const { asked, folder, open } = controlFolder(t)
  const listeners = watchListeners([])
  const heard: string[] = []
  listeners.on('listening', ({ key }) => heard.push(key))
  await open(asked)
  const server = net.createServer()
  t.teardown(() => server.close())
  await once(server.listen(path.join(folder, 'application')), 'listening')
  t.same(heard, [`unix:${path.join(folder, 'application')}`])
  t.equal(listeners.live().length, 1)
})

t.test('neither the socket nor a connection keeps a process alive', async t => {
  const { asked, folder, connect } = controlFolder(t)
  const code = `
    import { openControl } from ${JSON.stringify(compile('control/server', folder))}
    const never = () => new Promise(() => {})
    const reload = onProgress => (onProgress({ stage: 'booting', generation: 2, pid: 1 }), never())
    await openControl({ status: never, reload, stop: never }, ${JSON.stringify(asked)})
    process.stdin.resume()
    console.log('open')
  `
  const args = ['--input-type=module', '-e', code]
  const child = spawn(process.execPath, args, {
    env: cleanEnvironment(),
    stdio: ['pipe', 'pipe', 'inherit']
  })
  t.teardown(() => kill(child))
  await once(createInterface(child.stdout), 'line')
  const socket = await connect(asked)
  await connect(asked)
  socket.write(reloadLine)
  t.match(String((await once(socket, 'data'))[0]), 'booting')
  child.stdin.end()
  t.same(await once(child, 'close'), [0, null])
})

t.test('the 33rd connection is ended at once, and there is room again when one goes', async t => {
  const { asked, open, connect } = controlFolder(t)
  await open(asked)
  const clients: Socket[] = []
  for (let i = 0; i < 32; i++) clients.push(await connect(asked))
  const refused = await hear(await connect(asked))
  t.match(refused, [{ error: { message: /too many connections/ } }])
  t.same(await say(clients.pop()!, statusLine), [{ result: status }], 'the others are served')
  let answers: any[]
  do answers = await say(await connect(asked), statusLine)
  while ('error' in answers[0])
  t.same(answers, [{ result: status }])
})

t.test('each command gets to whom it is for', async t => {
  const { asked, open, connect } = controlFolder(t)
  const called: string[] = []
  const note = (name: string) => async () => void called.push(name)
  await open(asked, { reload: note('reload'), confirm: note('confirm'), rollback: note('rollback') })
  for (const command of ['confirm', 'rollback', 'reload'])
    t.same(await say(await connect(asked), `{"command":"${command}"}\n`), [{ result: null }])
  t.same(called, ['confirm', 'rollback', 'reload'])
})
