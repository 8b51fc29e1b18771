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
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { controlPaths, type Progress } from '../../lib/control.js'
import { type ControlHandlers, openControl } from '../../lib/control-server.js'
import { GracefulUpgradeError } from '../../lib/errors.js'
import { watchListeners } from '../../lib/listeners.js'
import { compile } from '../helper/compile.ts'
import { isRoot, never, status } from '../helper/control.ts'
import { cleanEnvironment } from '../helper/server.ts'

const uid = process.geteuid!()

/** A folder for one test, and what opens control sockets in it. */
function setUp(t: Test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const asked = path.join(folder, 'app.sock')
  const own = path.join(folder, 'own', '1.sock')
  const ends: (() => unknown)[] = []
  t.teardown(async () => {
    for (const end of ends) await end()
    rmSync(folder, { recursive: true })
  })
  return { folder, asked, own, open, connect, child }

  async function open(where: string | string[] | undefined = asked, some: Partial<ControlHandlers> = {}) {
    const control = await openControl(
      { status: async () => status, reload: never, stop: never, ...some },
      where
    )
    ends.push(() => control.close())
    return control
  }

  async function connect(file: string): Promise<Socket> {
    const socket = net.connect({ path: file, allowHalfOpen: true })
    socket.on('error', () => {})
    ends.push(() => socket.destroy())
    await once(socket, 'connect')
    return socket
  }

  /** A process that listens on a path. */
  async function child(file: string): Promise<ChildProcess> {
    const code = `require('net').createServer(s => s.on('error', () => {}).end('other\\n')).listen(process.argv[1], () => console.log('up'))`
    const child = spawn(process.execPath, ['-e', code, file], {
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit']
    })
    ends.push(() => kill(child))
    await once(child.stdout!, 'data')
    return child
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'close')
}

/** All that comes until the end, which is a line of JSON each. */
async function hear(socket: Socket): Promise<any[]> {
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.on('end', () => socket.end())
  await closed(socket)
  const lines = text.split('\n')
  return lines.slice(0, -1).map(line => JSON.parse(line))
}

/** Also by an error. */
function closed(socket: Socket): Promise<unknown> {
  return new Promise(resolve => socket.once('close', resolve))
}

async function say(socket: Socket, text: string | Buffer): Promise<any[]> {
  socket.write(text)
  return await hear(socket)
}

function mode(file: string): string {
  return (lstatSync(file).mode & 0o7777).toString(8)
}

const unusable = { code: 'GRACEFUL_UPGRADE_CONTROL_SOCKET' }
const reloadLine = '{"command":"reload"}\n'
const statusLine = '{"command":"status"}\n'

t.test('the places of a control socket depend on nothing but the process', async t => {
  const runtime = (uid: number) =>
    existsSync(`/run/user/${uid}`) ? [`/run/user/${uid}/graceful-upgrade/7.sock`] : []
  t.same(controlPaths(7, 0), [
    '/run/graceful-upgrade/7.sock',
    ...runtime(0),
    '/tmp/graceful-upgrade-0/7.sock'
  ])
  t.same(controlPaths(7, 12), [...runtime(12), '/tmp/graceful-upgrade-12/7.sock'])
})

t.test('without a path the first of the derived ones is taken', async t => {
  const control = await openControl({ status: async () => status, reload: never, stop: never })
  t.teardown(control.close)
  t.ok(controlPaths(process.pid, uid).includes(control.path))
  t.equal(mode(control.path), '600')
  t.equal(mode(path.dirname(control.path)), '700')
})

t.test('the directory is made for its owner alone, also under a generous umask', async t => {
  const { own, open } = setUp(t)
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
  const { folder, own, open } = setUp(t)
  const made = (name: string, mode: number) => {
    mkdirSync(path.join(folder, name))
    chmodSync(path.join(folder, name), mode)
    return path.join(folder, name, '1.sock')
  }
  const open755 = made('open755', 0o755)
  const open710 = made('open710', 0o710)
  made('real', 0o700)
  symlinkSync('real', path.join(folder, 'link'))
  symlinkSync('gone', path.join(folder, 'dangling'))
  writeFileSync(path.join(folder, 'file'), '')
  const link = path.join(folder, 'link', '1.sock')
  const reasons: [string, RegExp][] = [
    [open755, /open755 is open to others: its mode is 755, not 700/],
    [open710, /open to others: its mode is 710/],
    [link, /link is a link/],
    [path.join(folder, 'dangling', '1.sock'), /dangling is a link/],
    [path.join(folder, 'file', '1.sock'), /not a directory/]
  ]
  if (isRoot) {
    const foreign = made('foreign', 0o700)
    chownSync(path.dirname(foreign), 65534, 65534)
    reasons.push([foreign, /foreign belongs to uid 65534, not to uid 0/])
  }
  for (const [file, message] of reasons) await t.rejects(open([file]), { ...unusable, message }, file)
  t.same(readdirSync(path.join(folder, 'real')), [], 'nothing was made behind the link')
  t.notOk(existsSync(path.join(folder, 'gone')))
  t.equal(mode(path.dirname(open755)), '755', 'and nothing was mended')
  t.equal((await open([open755, link, own])).path, own)
})

t.test('a path of an option is bound out of sight, and can be opened by its owner alone', async t => {
  const { folder, asked, open } = setUp(t)
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
    const { folder, asked, open } = setUp(t)
    chmodSync(folder, 0o777)
    await t.rejects(open(asked), { ...unusable, message: /everybody may write to/ })
    await t.rejects(open(path.join(folder, 'no', 'app.sock')), { ...unusable, message: /ENOENT/ })
    t.same(readdirSync(folder), [])
  }
)

t.test(
  'what killed masters have left in the derived directory is removed, and no more than that',
  async t => {
    const { own, open, child } = setUp(t)
    const control = await open([own])
    const beside = (name: string) => path.join(path.dirname(own), name)
    await kill(await child(beside('4711.sock')))
    await child(beside('4712.sock'))
    writeFileSync(beside('4713.sock'), '')
    writeFileSync(beside('notes'), '')
    for (const name of ['.oldOne', '.newOne']) mkdirSync(beside(name))
    writeFileSync(beside('.oldOne/s'), '')
    utimesSync(beside('.oldOne'), 0, 0)
    control.close()
    await open([own])
    while (existsSync(beside('4711.sock')) || existsSync(beside('.oldOne'))) await turn()
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
  const library = compile('control-server', folder)
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
  t.same(readdirSync(folder).sort(), ['control-server.mjs', 'own'])
})

t.test('the socket that a killed process has left is replaced', async t => {
  const { asked, child, open, connect } = setUp(t)
  const other = await child(asked)
  await kill(other)
  t.ok(lstatSync(asked).isSocket())
  await open()
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('the socket of a live process is left to it', async t => {
  const { folder, asked, child, open, connect } = setUp(t)
  await child(asked)
  const { ino } = statSync(asked)
  await t.rejects(open(), { ...unusable, message: /another server listens on .*app\.sock/ })
  t.equal(statSync(asked).ino, ino)
  t.same(readdirSync(folder), ['app.sock'])
  const other = await connect(asked)
  t.equal(String((await once(other, 'data'))[0]), 'other\n')
})

t.test('a file of another kind is left alone', async t => {
  const { folder, asked, open } = setUp(t)
  writeFileSync(asked, 'precious')
  await t.rejects(open(), { ...unusable, message: /app\.sock is there already, and is not a socket/ })
  t.ok(lstatSync(asked).isFile())
  const link = path.join(folder, 'link')
  symlinkSync('nowhere', link)
  await t.rejects(open(link), unusable)
  t.ok(lstatSync(link).isSymbolicLink())
})

t.test('a path that is too long is refused by its length', async t => {
  const { folder, open } = setUp(t)
  const file = path.join(folder, 'x'.repeat(108 - folder.length - 1))
  t.equal(file.length, 108)
  await t.rejects(open(file), { ...unusable, message: /is too long: it would take 108 bytes/ })
  t.same(readdirSync(folder), [])
  if (process.platform === 'linux') t.equal((await open(file.slice(0, -1))).path.length, 107)
})

t.test('close() removes the file, ends the connections, and does so once', async t => {
  const { folder, asked, open, connect } = setUp(t)
  const control = await open()
  const idle = await connect(asked)
  const ended = hear(idle)
  control.close()
  t.same(readdirSync(folder), [])
  t.same(await ended, [])
  const next = await open()
  control.close()
  t.same(await say(await connect(next.path), statusLine), [{ result: status }])
})

t.test('close() leaves the file of whoever took its place', async t => {
  const { asked, open, connect } = setUp(t)
  const first = await open()
  renameSync((await open(`${asked}2`)).path, asked)
  first.close()
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('it is no listener of the application', async t => {
  const { folder, open } = setUp(t)
  const listeners = watchListeners([])
  const heard: string[] = []
  listeners.on('listening', ({ key }) => heard.push(key))
  await open()
  const server = net.createServer()
  t.teardown(() => server.close())
  await once(server.listen(path.join(folder, 'application')), 'listening')
  t.same(heard, [`unix:${path.join(folder, 'application')}`])
  t.equal(listeners.live().length, 1)
})

t.test('neither the socket nor a connection keeps a process alive', async t => {
  const { asked, folder, connect } = setUp(t)
  const code = `
    import { openControl } from ${JSON.stringify(compile('control-server', folder))}
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

t.test('a reload is answered with its progress and its result, in order', async t => {
  const { asked, open, connect } = setUp(t)
  const told: Progress[] = [
    { stage: 'booting', generation: 2, pid: 12 },
    { stage: 'ready', generation: 2, pid: 12, ms: 5 }
  ]
  await open(asked, {
    async reload(onProgress) {
      for (const progress of told) onProgress(progress)
    }
  })
  const answers = await say(await connect(asked), reloadLine)
  t.same(answers, [...told.map(progress => ({ progress })), { result: null }])
})

t.test('a failure is told with its code and the last words', async t => {
  const { asked, open, connect } = setUp(t)
  let error: Error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'code 1', {
    lastWords: 'no database'
  })
  await open(asked, {
    async reload() {
      throw error
    }
  })
  const { message, code } = error as GracefulUpgradeError
  t.same(await say(await connect(asked), reloadLine), [
    { error: { code, message, lastWords: 'no database' } }
  ])
  error = new TypeError('a defect')
  t.same(await say(await connect(asked), reloadLine), [{ error: { ...unusable, message: 'a defect' } }])
})

t.test('a stop is answered, and its connection lasts until the end', async t => {
  const { asked, open, connect } = setUp(t)
  const control = await open(asked, { stop: async () => {} })
  const socket = await connect(asked)
  socket.write('{"command":"stop"}\n')
  t.equal(String((await once(socket, 'data'))[0]), '{"result":null}\n')
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
  t.notOk(socket.readableEnded)
  control.close()
  t.same(await say(socket, ''), [])
})

t.test('what is no request gets one error, and then the end', async t => {
  const { asked, open, connect } = setUp(t)
  await open()
  const wrong = [
    '\n',
    'GET / HTTP/1.1\r\n\r\n',
    '{"command":"explode"}\n',
    'null\n',
    '[]\n',
    '{"command":["stop"]}\n'
  ]
  const requests = [
    ...wrong,
    Buffer.from([0xff, 0xfe, 0, 10]),
    '{"command":"toString"}\n',
    `${'x'.repeat(4_097)}`
  ]
  for (const request of requests) {
    const answers = await say(await connect(asked), request)
    t.match(answers, [{ error: { code: 'GRACEFUL_UPGRADE_USAGE' } }], String(request).slice(0, 30))
    t.equal(answers.length, 1)
  }
  const padded = `${statusLine.trimEnd().padEnd(4_096)}\n`
  t.same(await say(await connect(asked), padded), [{ result: status }], 'four KiB are allowed')
  t.match(await say(await connect(asked), ` ${padded}`), [{ error: {} }], 'and no byte more')
})

t.test('a request may come in pieces, and in company: the first line counts', async t => {
  const { asked, open, connect } = setUp(t)
  let calls = 0
  await open(asked, {
    async status() {
      calls++
      return status
    }
  })
  const socket = await connect(asked)
  socket.setNoDelay()
  for (const piece of ['{"comm', 'and":"sta']) await new Promise(resolve => socket.write(piece, resolve))
  t.same(await say(socket, `tus"}\n${statusLine}${statusLine}`), [{ result: status }])
  t.equal(calls, 1)
})

t.test('a flood is cut off, before a request and behind it', async t => {
  const { asked, open, connect } = setUp(t)
  let reloads = 0
  await open(asked, {
    reload(onProgress) {
      reloads++
      onProgress({ stage: 'booting', generation: 2, pid: 12 })
      return never()
    }
  })
  for (const start of ['', reloadLine]) {
    const socket = await connect(asked)
    const cut = closed(socket)
    socket.write(start)
    if (start !== '') await once(socket, 'data')
    socket.resume()
    const flood = () => {
      while (socket.writable && socket.write(Buffer.alloc(65_536, 'x')));
    }
    socket.on('drain', flood)
    flood()
    await cut
  }
  t.equal(reloads, 1)
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('a client that has closed its half gets its answers', async t => {
  const { asked, open, connect } = setUp(t)
  const gate = deferred()
  await open(asked, {
    async reload(onProgress) {
      onProgress({ stage: 'booting', generation: 2, pid: 12 })
      await gate.promise
    }
  })
  const socket = await connect(asked)
  socket.end(reloadLine)
  const answers = hear(socket)
  await once(socket, 'data')
  t.same(await say(await connect(asked), statusLine), [{ result: status }], 'the server has seen the end')
  gate.resolve()
  t.same((await answers).at(-1), { result: null })
})

t.test('a client that closes its half without a request is ended at once', async t => {
  const { asked, open, connect } = setUp(t)
  await open()
  const begun = performance.now()
  const socket = await connect(asked)
  socket.end('{"comm')
  t.same(await hear(socket), [])
  t.ok(performance.now() - begun < 4_000)
})

t.test('a client that goes away does not stop the upgrade', async t => {
  const { asked, open, connect } = setUp(t)
  const [started, gate, over] = [deferred(), deferred(), deferred()]
  await open(asked, {
    async reload(onProgress) {
      started.resolve()
      await gate.promise
      for (let i = 0; i < 3; i++) onProgress({ stage: 'booting', generation: 2, pid: 12 })
      over.resolve()
    }
  })
  const socket = await connect(asked)
  socket.write(reloadLine)
  await started.promise
  socket.destroy()
  await once(socket, 'close')
  gate.resolve()
  await over.promise
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('the 33rd connection is ended at once, and there is room again when one goes', async t => {
  const { asked, open, connect } = setUp(t)
  await open()
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

t.test('a client that never reads is cut off', { timeout: 20_000 }, async t => {
  const { asked, open, connect } = setUp(t)
  const told = deferred()
  await open(asked, {
    reload(onProgress) {
      for (let i = 0; i < 20_000; i++) onProgress({ stage: 'booting', generation: i, pid: 12 })
      told.resolve()
      return never()
    }
  })
  const socket = await connect(asked)
  socket.pause()
  socket.write(reloadLine)
  await told.promise
  const heard = hear(socket)
  socket.resume()
  t.ok((await heard).length < 20_000)
})

t.test(
  'who has not made a request in five seconds is cut off, however busy',
  { timeout: 20_000 },
  async t => {
    const { asked, open, connect } = setUp(t)
    await open()
    const begun = performance.now()
    const silent = async () => t.same(await hear(await connect(asked)), [])
    const slow = async () => {
      const socket = await connect(asked)
      const timer = setInterval(() => socket.write(' '), 500)
      t.same(await hear(socket), [])
      clearInterval(timer)
    }
    await Promise.all([silent(), slow()])
    const ms = performance.now() - begun
    t.ok(ms > 4_900 && ms < 9_000, `${ms} ms`)
  }
)

function deferred() {
  let resolve: () => void = () => {}
  const promise = new Promise<void>(done => {
    resolve = done
  })
  return { promise, resolve }
}
