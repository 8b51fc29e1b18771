import { type ChildProcess, spawn } from 'node:child_process'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { createNotifier, listenersOfSystemd, systemdVariables } from '../../lib/systemd.js'

const code = 'GRACEFUL_UPGRADE_LISTEN_FDS'
const skip = process.platform === 'linux' ? false : 'systemd is of Linux only'

function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

async function listen(t: Test, options: net.ListenOptions): Promise<Server> {
  const server = net.createServer()
  t.teardown(() => new Promise(resolve => server.close(resolve)))
  await once(server.listen(options), 'listening')
  return server
}

function descriptorOf(socket: object): number {
  return (socket as { _handle: { fd: number } })._handle.fd
}

/**
 * A process that has these descriptors from 3 on, as systemd would start it.
 * @returns what it finds, or its error
 */
async function findIn(descriptors: readonly number[], env: NodeJS.ProcessEnv = {}): Promise<any> {
  const script = `
    import { listenersOfSystemd } from ${JSON.stringify(path.resolve(import.meta.dirname, '../../lib/systemd.ts'))}
    const env = { LISTEN_PID: String(process.pid), ...${JSON.stringify(env)} }
    try {
      console.log(JSON.stringify(listenersOfSystemd(env, process.pid)))
    } catch ({ code, message }) {
      console.log(JSON.stringify({ code, message }))
    }
  `
  const child: ChildProcess = spawn(
    process.execPath,
    [...process.execArgv, '--input-type=module', '--eval', script],
    { stdio: ['ignore', 'pipe', 'inherit', ...descriptors] }
  )
  let output = ''
  for await (const chunk of child.stdout!) output += chunk
  return JSON.parse(output)
}

t.test('every kind of listening socket is found with its address', { skip }, async t => {
  const file = path.join(temporaryFolder(t), 'with a space.sock')
  const servers = [
    await listen(t, { host: '127.0.0.1', port: 0 }),
    await listen(t, { host: '0.0.0.0', port: 0 }),
    await listen(t, { host: '::', port: 0 }),
    await listen(t, { host: '::1', port: 0 }),
    await listen(t, { host: '::ffff:127.0.0.1', port: 0 }),
    await listen(t, { path: file })
  ]
  const port = (index: number) => (servers[index]!.address() as AddressInfo).port
  t.same(await findIn(servers.map(descriptorOf), { LISTEN_FDS: '6', LISTEN_FDNAMES: 'http:all::x:y:z' }), [
    { key: 'fd:3', bound: `127.0.0.1:${port(0)}`, fd: 3, name: 'http' },
    { key: 'fd:4', bound: `0.0.0.0:${port(1)}`, fd: 4, name: 'all' },
    { key: 'fd:5', bound: `[::]:${port(2)}`, fd: 5 },
    { key: 'fd:6', bound: `[::1]:${port(3)}`, fd: 6, name: 'x' },
    { key: 'fd:7', bound: `[::ffff:127.0.0.1]:${port(4)}`, fd: 7, name: 'y' },
    { key: 'fd:8', bound: file, fd: 8, name: 'z' }
  ])
})

t.test('only as many descriptors as LISTEN_FDS says are looked at', { skip }, async t => {
  const servers = [await listen(t, { port: 0 }), await listen(t, { port: 0 })]
  const found = await findIn(servers.map(descriptorOf), { LISTEN_FDS: '1' })
  t.same(
    found.map(({ key }: { key: string }) => key),
    ['fd:3']
  )
  t.same(await findIn([], { LISTEN_FDS: '0' }), [])
})

t.test('what is for another process, or for none, is ignored', async t => {
  t.same(listenersOfSystemd({}, process.pid), [])
  t.same(listenersOfSystemd({ LISTEN_FDS: 'garbage', LISTEN_PID: String(process.ppid) }, process.pid), [])
  t.same(listenersOfSystemd({ LISTEN_FDS: '1' }, process.pid), [])
  t.same(listenersOfSystemd({ LISTEN_PID: String(process.pid) }, process.pid), [])
})

t.test('a number of descriptors that is none is refused', async t => {
  for (const count of ['', 'x', '-1', '1.5', '1e3', '9999999999']) {
    t.throws(() => listenersOfSystemd({ LISTEN_FDS: count, LISTEN_PID: '7' }, 7), {
      code,
      message: `the sockets that systemd passes on cannot be used: LISTEN_FDS is '${count}', which is no number`
    })
  }
})

t.test('a descriptor that cannot be listened on is refused by its number and name', { skip }, async t => {
  const server = await listen(t, { host: '127.0.0.1', port: 0 })
  const unixServer = await listen(t, { path: path.join(temporaryFolder(t), 'app.sock') })
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const unixClient = net.connect(unixServer.address() as string)
  const datagrams = dgram.createSocket('udp4').bind(0, '127.0.0.1')
  t.teardown(() => {
    client.destroy()
    unixClient.destroy()
    datagrams.close()
  })
  await Promise.all([
    once(client, 'connect'),
    once(unixClient, 'connect'),
    once(datagrams, 'listening').then(() => {})
  ])
  const second = async (descriptor: number) =>
    findIn([descriptorOf(server), descriptor], { LISTEN_FDS: '2', LISTEN_FDNAMES: 'http:metrics' })

  const message = /descriptor 4 \(metrics\) is no stream socket that listens: .* ListenStream= and Accept=no/
  t.match(await second(descriptorOf(client)), { code, message }, 'a connection')
  t.match(await second(descriptorOf(unixClient)), { code, message }, 'a connection by a Unix socket')
  const udp = Object.getOwnPropertySymbols(datagrams).find(
    ({ description }) => description === 'state symbol'
  )
  t.match(await second((datagrams as any)[udp!].handle.fd), { code, message }, 'a datagram socket')
  t.match(
    await second(openSync('/dev/null', 'r')),
    { code, message: /descriptor 4 \(metrics\) is no socket but \/dev\/null/ },
    'a file'
  )
})

t.test('a descriptor that is not open is refused', { skip }, async t => {
  const server = await listen(t, { port: 0 })
  t.match(await findIn([descriptorOf(server)], { LISTEN_FDS: '900' }), {
    code,
    message: /descriptor \d+ is (not open, though LISTEN_FDS says so|no socket but)/
  })
})

t.test('without Linux there are no such sockets', async t => {
  const platform = Object.getOwnPropertyDescriptor(process, 'platform')!
  t.teardown(() => Object.defineProperty(process, 'platform', platform))
  Object.defineProperty(process, 'platform', { ...platform, value: 'darwin' })
  t.throws(() => listenersOfSystemd({ LISTEN_FDS: '1', LISTEN_PID: '7' }, 7), { code, message: /Linux only/ })
  t.same(listenersOfSystemd({ LISTEN_FDS: '0', LISTEN_PID: '7' }, 7), [])
})

t.test('the variables that are for the main process alone are known', async t => {
  t.same(
    [...systemdVariables].sort(),
    ['LISTEN_FDNAMES', 'LISTEN_FDS', 'LISTEN_PID', 'NOTIFY_SOCKET', 'WATCHDOG_PID', 'WATCHDOG_USEC'].sort()
  )
})

/** A notifier whose tool is a script of the test; `calls` are what the tool was called with, one a line. */
function notifier(t: Test, tool: string, env: NodeJS.ProcessEnv = {}) {
  const folder = temporaryFolder(t)
  const file = path.join(folder, 'systemd-notify')
  const record = path.join(folder, 'calls')
  writeFileSync(
    file,
    `#!/bin/sh\nprintf '%s|' "$NOTIFY_SOCKET" "$@" >> ${record}; echo >> ${record}\n${tool}\n`
  )
  chmodSync(file, 0o755)
  const warnings: { err: Error; message: string[]; text: string }[] = []
  const log = { warn: (object: any, text: string) => warnings.push({ ...object, text }) }
  const PATH = `${folder}${path.delimiter}${process.env.PATH}`
  const subject = createNotifier({ PATH, NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '', ...env }, log as any)
  t.teardown(() => subject.close())
  return { folder, subject, warnings, calls, until }

  function calls(): string[] {
    return existsSync(record) ? readFileSync(record, 'utf8').split('\n').slice(0, -1) : []
  }

  async function until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise(resolve => setTimeout(resolve, 5))
  }
}

t.test('without NOTIFY_SOCKET nothing is started, and no timer', async t => {
  for (const NOTIFY_SOCKET of [undefined, '']) {
    const { subject, calls } = notifier(t, '', { NOTIFY_SOCKET, WATCHDOG_USEC: '10000' })
    const before = process.getActiveResourcesInfo().sort()
    subject.ready('up')
    subject.reloading()
    subject.status('busy')
    subject.stopping()
    t.same(process.getActiveResourcesInfo().sort(), before)
    subject.close()
    t.same(calls(), [])
  }
})

t.test('messages keep their order, and only what is out of date is left out', async t => {
  const { folder, subject, calls, until, warnings } = notifier(
    t,
    'while [ ! -e "$0.go" ]; do sleep 0.01; done'
  )
  subject.ready('one')
  subject.reloading()
  subject.status('two')
  subject.status('three')
  subject.ready('four')
  subject.status('five')
  subject.stopping()
  subject.status('six')
  await until(() => calls().length === 1)
  writeFileSync(path.join(folder, 'systemd-notify.go'), '')
  await until(() => calls().length === 4)
  t.match(calls(), [
    '/run/x|READY=1|STATUS=one|',
    /^\/run\/x\|RELOADING=1\|MONOTONIC_USEC=\d+\|STATUS=three\|$/,
    '/run/x|READY=1|STATUS=five|',
    '/run/x|STOPPING=1|STATUS=six|'
  ])
  t.same(warnings, [])
})

t.test('the environment is read once, and the tool gets little of it', async t => {
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: '/run/y', SECRET: 'x' }
  const { folder, subject, until } = notifier(t, 'env > "$0.env.tmp"; mv "$0.env.tmp" "$0.env"', env)
  for (const name of Object.keys(env)) delete env[name]
  subject.status('here')
  const file = path.join(folder, 'systemd-notify.env')
  await until(() => existsSync(file))
  const names = readFileSync(file, 'utf8')
    .split('\n')
    .map(line => line.split('=')[0])
  t.ok(names.includes('NOTIFY_SOCKET'))
  t.notOk(names.includes('SECRET'))
})

t.test('a status is one line, and not longer than systemd reads', async t => {
  const { subject, calls, until } = notifier(t, '')
  subject.status('one\r\ntwo\tthree\0four\nREADY=1')
  await until(() => calls().length === 1)
  t.equal(calls()[0], '/run/x|STATUS=one two three four READY=1|')
  subject.ready('€'.repeat(5_000))
  await until(() => calls().length === 2)
  t.ok(Buffer.byteLength(calls()[1]!) < 4_096)
})

t.test('a tool that is not there is one warning', async t => {
  const { subject, until, warnings } = notifier(t, '', { PATH: '/nowhere' })
  subject.ready('one')
  subject.reloading()
  subject.ready('two')
  await until(() => warnings.length > 0)
  await new Promise(resolve => setTimeout(resolve, 100))
  t.equal(warnings.length, 1)
  t.match(warnings[0], {
    err: { code: 'ENOENT' },
    message: ['READY=1', 'STATUS=one'],
    text: 'systemd could not be notified'
  })
})

t.test('a tool that fails is one warning, and the next message is sent nevertheless', async t => {
  const { subject, calls, until, warnings } = notifier(t, 'echo "no such thing" >&2; exit 3')
  subject.ready('one')
  subject.reloading()
  subject.ready('two')
  await until(() => calls().length === 3)
  t.equal(warnings.length, 1)
  t.equal(warnings[0]!.err.message, 'systemd-notify ended with 3: no such thing')
})

t.test('a tool that cannot even be spawned is one warning', async t => {
  const { subject, until, warnings } = notifier(t, '', { PATH: 'a\0b' })
  t.doesNotThrow(() => subject.ready('one'))
  t.same(warnings, [], 'not yet: the caller is in the middle of something')
  await until(() => warnings.length === 1)
  t.match(warnings[0], { err: { code: 'ERR_INVALID_ARG_VALUE' } })
})

t.test('the watchdog is told from the first ready() until close()', async t => {
  const { subject, calls, until } = notifier(t, '', {
    WATCHDOG_USEC: '40000',
    WATCHDOG_PID: String(process.pid)
  })
  subject.status('booting')
  await new Promise(resolve => setTimeout(resolve, 100))
  t.same(calls(), ['/run/x|STATUS=booting|'])
  subject.ready('up')
  await until(() => calls().length >= 4)
  t.same(calls().slice(1, 4), ['/run/x|READY=1|STATUS=up|', '/run/x|WATCHDOG=1|', '/run/x|WATCHDOG=1|'])
  subject.close()
  await new Promise(resolve => setTimeout(resolve, 100)) // what is under way
  const count = calls().length
  await new Promise(resolve => setTimeout(resolve, 100))
  t.equal(calls().length, count)
})

t.test('a watchdog of another process, or none, is not told', async t => {
  for (const env of [
    { WATCHDOG_USEC: '10000', WATCHDOG_PID: '1' },
    { WATCHDOG_USEC: '0' },
    { WATCHDOG_USEC: 'x' }
  ]) {
    const { subject, calls, until } = notifier(t, '', env)
    subject.ready('up')
    await until(() => calls().length === 1)
    await new Promise(resolve => setTimeout(resolve, 60))
    t.same(calls(), ['/run/x|READY=1|STATUS=up|'])
  }
})

t.test('a tool that hangs is killed, and the next message is sent', async t => {
  const { timeout } = AbortSignal
  t.teardown(() => {
    AbortSignal.timeout = timeout
  })
  AbortSignal.timeout = ms => {
    t.equal(ms, 10_000)
    return timeout.call(AbortSignal, 100)
  }
  const { folder, subject, calls, until, warnings } = notifier(t, 'echo $$ > "$0.pid"; exec sleep 60')
  subject.ready('one')
  subject.stopping()
  await until(() => warnings.length === 1)
  t.match(warnings[0], { err: { name: 'AbortError' }, message: ['READY=1', 'STATUS=one'] })
  await until(() => calls().length === 2)
  const pid = Number(readFileSync(path.join(folder, 'systemd-notify.pid'), 'utf8'))
  await until(() => isGone(pid))
})

t.test('neither a tool that hangs nor the watchdog keeps the process alive', async t => {
  const { folder, until } = notifier(t, 'echo $$ > "$0.pid"; exec sleep 60')
  const file = path.join(folder, 'systemd-notify.pid')
  const script = `
    import { createNotifier } from ${JSON.stringify(path.resolve(import.meta.dirname, '../../lib/systemd.ts'))}
    const PATH = ${JSON.stringify(folder)} + ':' + process.env.PATH
    const notifier = createNotifier({ PATH, NOTIFY_SOCKET: 'x', WATCHDOG_USEC: '60000000' }, console)
    notifier.ready('up')
    notifier.stopping()
  `
  const child = spawn(process.execPath, [...process.execArgv, '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 8_000 // less than the tool gets
  })
  t.same(await once(child, 'exit'), [0, null])
  await until(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'))
  process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL')
})

/** A process that nobody waits for stays as a zombie where PID 1 is no init. */
function isGone(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return true
  }
}
