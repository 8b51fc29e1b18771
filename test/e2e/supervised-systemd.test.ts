/** A server under systemd, in both modes: a socket that was opened before, and what the service manager is told. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { cli, fixtures, type StartOptions, startServer } from '../helper/server.ts'
import { ask, inFlight } from '../helper/supervised.ts'

const program = path.join(fixtures, 'server.js')
const modes = { supervised: [process.execPath, cli, program], standalone: [process.execPath, program] }

/** In CI on Linux nothing may be missing. */
function missing(...tools: string[]): string | false {
  const absent = tools.filter(tool => spawnSync(tool, ['--version']).error)
  if (absent.length === 0 || (process.env.CI && process.platform === 'linux')) return false
  return `${absent.join(' and ')} not installed`
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

for (const [mode, words] of Object.entries(modes)) {
  const skip = missing('systemd-socket-activate')
  t.test(
    `${mode}: the socket that systemd has opened is the server's, through upgrades`,
    { skip },
    async t => {
      const port = await freePort()
      const server = startServer(t, {
        release: { listen: [{ port, host: '127.0.0.1' }] },
        command: [
          'systemd-socket-activate',
          `--listen=127.0.0.1:${port}`,
          '--setenv=RELEASE',
          '--setenv=PATH',
          ...words
        ]
      })
      await new Promise<void>(resolve => {
        let said = ''
        server.child.stderr!.on('data', chunk => {
          said += chunk
          if (said.includes('Listening on')) resolve()
        })
      })
      // The first connection starts the service, and waits for it.
      t.match(await ask(port), { generation: 1 })
      if (mode === 'supervised') await server.line('generation ready')
      for (const generation of [2, 3]) {
        t.match(await server.reload(), { generation, unclaimed: [] })
        await server.line('generation retired')
        t.match(await ask(port), { generation })
      }
      const { pid } = await ask(port)
      const { env } = await ask(port, '/environment')
      t.not(env.LISTEN_PID, String(pid), 'a worker does not take them for its own')
      if (mode === 'supervised') t.equal(env.LISTEN_FDS, undefined)
      process.kill(pid, 'SIGKILL')
      await server.line('generation died')
      t.match(await ask(port), { generation: 4 })
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null })
    }
  )
}

/** What systemd does with NOTIFY_SOCKET, as far as the messages go; and when each came, in microseconds. */
const receiver = `
import json, socket, sys, time
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print('bound', flush=True)
while True:
    message = receiver.recv(4096).decode()
    at = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    if message != 'BARRIER=1':
        print(json.dumps([message, at]), flush=True)
`

interface Message {
  readonly state: string | undefined
  readonly status: string | undefined
  readonly monotonic: number
  readonly at: number
}

/** A service manager; `next()` is the next message that says more than a status. */
async function startManager(t: Test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const address = path.join(folder, 'notify')
  const python = spawn('python3', ['-c', receiver, address], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    python.kill('SIGKILL')
    if (python.exitCode === null && python.signalCode === null) await once(python, 'exit')
    rmSync(folder, { recursive: true })
  })
  const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]()
  await lines.next()
  return { address, next }

  async function next(): Promise<Message> {
    for (;;) {
      const [message, at] = JSON.parse((await lines.next()).value) as [string, number]
      const fields = Object.fromEntries(message.split('\n').map(line => line.split(/=(.*)/s)))
      const state = ['READY', 'RELOADING', 'STOPPING'].find(name => fields[name] === '1')
      if (state === undefined) continue
      return { state, status: fields.STATUS, monotonic: Number(fields.MONOTONIC_USEC), at }
    }
  }
}

const skip = missing('python3', 'systemd-notify')
for (const [mode, options] of Object.entries({ supervised: { supervised: [] }, standalone: {} }) as [
  string,
  StartOptions
][]) {
  t.test(`${mode}: systemd is told how an upgrade went`, { skip, timeout: 60_000 }, async t => {
    const { address, next } = await startManager(t)
    const server = startServer(t, { ...options, env: { NOTIFY_SOCKET: address } })
    const port = await server.port()
    t.match(await next(), { state: 'READY', status: /^generation 1 serves/ })

    for (const generation of [2, 3]) {
      const asked = Number(process.hrtime.bigint() / 1_000n)
      await server.reload()
      const reloading = await next()
      t.match(reloading, { state: 'RELOADING' })
      t.ok(reloading.monotonic >= asked && reloading.monotonic <= reloading.at, 'by the clock of systemd')
      t.match(await next(), { state: 'READY', status: new RegExp(`^generation ${generation} serves`) })
    }

    server.deploy({ boot: 'exit3' })
    server.kill('SIGHUP')
    await server.line('upgrade failed')
    t.match(await next(), { state: 'RELOADING' })
    t.match(await next(), { state: 'READY', status: /^generation 3 serves on .* 4 failed: .* with code 3/ })

    if (mode === 'supervised') {
      const { env } = await ask(port, '/environment')
      t.equal(env.NOTIFY_SOCKET, undefined, 'a worker does not take it for its own')
    }

    const request = inFlight(port, 2_000)
    await request.begun
    server.kill('SIGTERM')
    t.match(await next(), { state: 'STOPPING' })
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.same(
      server.lines.filter(({ msg }) => /systemd/.test(msg)),
      []
    )
  })
}
