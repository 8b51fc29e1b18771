/** A server under systemd, in both modes: a socket that was opened before, and what the service manager is told. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helper/folder.ts'
import { freePort } from '../helper/free-port.ts'
import { graceful } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { missing } from '../helper/program.ts'
import { cli, fixtures, type StartOptions, startServer } from '../helper/server.ts'
import { startServiceManager } from '../helper/service-manager.ts'
import { ask, inFlight } from '../helper/supervised.ts'

const program = path.join(fixtures, 'server.js')
const modes = { supervised: [process.execPath, cli, program], standalone: [process.execPath, program] }

for (const [mode, words] of Object.entries(modes)) {
  const skip = missing('systemd-socket-activate')
  t.test(
    `${mode}: the sockets that systemd has opened are the server's, through upgrades, and no file is removed`,
    { skip },
    async t => {
      const port = await freePort()
      const file = path.join(temporaryFolder(t), 'app.sock')
      const askFile = async () => {
        const { body } = await new Client({ path: file }).get('/', { Connection: 'close' })
        return JSON.parse(body.toString())
      }
      const server = startServer(t, {
        release: { listen: [{ port, host: '127.0.0.1' }, { path: file }] },
        command: [
          'systemd-socket-activate',
          `--listen=127.0.0.1:${port}`,
          `--listen=${file}`,
          '--setenv=RELEASE',
          '--setenv=PATH',
          ...words
        ]
      })
      await new Promise<void>(resolve => {
        let said = ''
        server.child.stderr!.on('data', chunk => {
          said += chunk
          if (said.split('Listening on').length > 2) resolve()
        })
      })
      // The first connection starts the service, and waits for it.
      t.match(await ask(port), { generation: 1 })
      if (mode === 'supervised') await server.line('generation ready')
      for (const generation of [2, 3]) {
        t.match(await server.reload(), { generation, unclaimed: [] })
        await server.line('generation retired')
        t.match(await ask(port), { generation })
        t.match(await askFile(), { generation })
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
      t.ok(existsSync(file), 'which is not for it to remove')
    }
  )
}

interface Message {
  readonly state: string | undefined
  readonly status: string | undefined
  readonly monotonic: number
  /** In seconds. */
  readonly patience: number
  readonly at: number
}

/** A service manager; `next()` is the next message that says more than a status. */
async function startManager(t: Test) {
  const { address, message } = await startServiceManager(t)
  return { address, next }

  async function next(): Promise<Message> {
    for (;;) {
      const [text, at] = await message()
      const fields = Object.fromEntries(text.split('\n').map(line => line.split(/=(.*)/s)))
      const state = ['READY', 'RELOADING', 'STOPPING'].find(name => fields[name] === '1')
      if (state === undefined) continue
      const patience = Number(fields.EXTEND_TIMEOUT_USEC) / 1_000_000
      return { state, status: fields.STATUS, monotonic: Number(fields.MONOTONIC_USEC), patience, at }
    }
  }
}

const skip = missing('python3', 'systemd-notify')
for (const [mode, options] of Object.entries({ supervised: { supervised: [] }, standalone: {} }) as [
  string,
  StartOptions
][]) {
  t.test(`${mode}: systemd is told how an upgrade went`, { skip }, async t => {
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

    server.deploy({ options: { probation: 60_000 } })
    server.kill('SIGHUP')
    await server.line('generation on probation')
    const asked = Number(process.hrtime.bigint() / 1_000n)
    t.match(await graceful(['rollback', String(server.pid)]), { code: 0 })
    t.match(await next(), { state: 'RELOADING' })
    const over = await next()
    t.match(over, { state: 'READY', status: /^generation 3 serves on .* 5 failed: .* asked for by/ })
    t.ok(over.at > asked, 'a reload lasts until the end of a probation')

    if (mode === 'supervised') {
      const { env } = await ask(port, '/environment')
      t.equal(env.NOTIFY_SOCKET, undefined, 'a worker does not take it for its own')
    }

    const request = inFlight(port, 'drain')
    await request.begun
    server.kill('SIGTERM')
    const stopping = await next()
    t.match(stopping, { state: 'STOPPING' })
    t.ok(stopping.patience >= 40 && stopping.patience < 45, 'as long as drainTimeout and closeTimeout')
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.same(
      server.lines.filter(({ msg }) => /systemd/.test(msg)),
      []
    )
  })
}
