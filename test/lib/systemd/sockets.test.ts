import { type ChildProcess, spawn } from 'node:child_process'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import net, { type AddressInfo, type Server } from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import { listenersOfSystemd, systemdVariables } from '../../../lib/systemd/sockets.js'
import { compile } from '../../helper/compile.ts'
import { temporaryFolder } from '../../helper/folder.ts'
import { cleanEnvironment } from '../../helper/server.ts'

const code = 'GRACEFUL_UPGRADE_LISTEN_FDS'
const skip = process.platform === 'linux' ? false : 'systemd is of Linux only'

async function listen(t: Test, options: net.ListenOptions): Promise<Server> {
  const server = net.createServer()
  t.teardown(() => new Promise(resolve => server.close(resolve)))
  await once(server.listen(options), 'listening')
  return server
}

function descriptorOf(socket: object): number {
  return (socket as { _handle: { fd: number } })._handle.fd
}

const library = compile('systemd/sockets', temporaryFolder(t))

/**
 * A process that has these descriptors from 3 on, as systemd would start it.
 * @returns what it finds, or its error
 */
async function findIn(descriptors: readonly number[], env: NodeJS.ProcessEnv = {}): Promise<any> {
  const script = `
    import { listenersOfSystemd } from ${JSON.stringify(library)}
    const env = { LISTEN_PID: String(process.pid), ...${JSON.stringify(env)} }
    try {
      console.log(JSON.stringify(listenersOfSystemd(env, process.pid)))
    } catch ({ code, message }) {
      console.log(JSON.stringify({ code, message }))
    }
  `
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    env: cleanEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit', ...descriptors]
  })
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
    { key: 'fd:3', bound: `127.0.0.1:${port(0)}`, fd: 3, isForeign: true, name: 'http' },
    { key: 'fd:4', bound: `0.0.0.0:${port(1)}`, fd: 4, isForeign: true, name: 'all' },
    { key: 'fd:5', bound: `[::]:${port(2)}`, fd: 5, isForeign: true },
    { key: 'fd:6', bound: `[::1]:${port(3)}`, fd: 6, isForeign: true, name: 'x' },
    { key: 'fd:7', bound: `[::ffff:127.0.0.1]:${port(4)}`, fd: 7, isForeign: true, name: 'y' },
    { key: 'fd:8', bound: file, fd: 8, isForeign: true, name: 'z' }
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
