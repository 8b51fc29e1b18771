/**
 * What a server meets where it is started: launchers and watchers, a standard error that nobody reads, another user,
 * Node's permission model, a UDP port.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { isRoot } from '../helper/control.ts'
import { temporaryFolder } from '../helper/folder.ts'
import { freePort } from '../helper/free-port.ts'
import { graceful, statusOf } from '../helper/graceful.ts'
import { fixtures, startServer } from '../helper/server.ts'
import { ask, ends } from '../helper/supervised.ts'

const root = path.resolve(import.meta.dirname, '../..')

t.test('whoever names the launcher instead of the server is told which process it is', async t => {
  const tsx = path.join(root, 'node_modules/.bin/tsx')
  const server = startServer(t, { command: [tsx, path.join(fixtures, 'server.js')] })
  const { pid: master } = await server.line('listening on')
  t.not(server.pid, master)
  const args = ['reload', String(server.pid)]
  const alive = await graceful(args)
  t.match(alive, { code: 1, stderr: `is not a master; it belongs to one: name ${master} instead` })

  server.kill('SIGHUP')
  t.match(await server.exit(), { code: null, signal: 'SIGHUP' }, 'tsx knows nothing of SIGHUP')
  const left = await server.line('launcher has ended, signals go to the master')
  t.match(left, { launcher: server.pid, master, pid: master })
  t.match(await graceful(args), {
    code: 1,
    stderr: `there is no process ${server.pid}; if that was npx or tsx`
  })

  t.match(await graceful(['reload', String(master)]), { code: 0 })
  const { pid: worker } = await server.line('generation spawned')
  t.match(
    (await graceful(['reload', String(worker)])).stderr,
    `name ${master} instead`,
    "so is who names a worker's"
  )
  t.match(await graceful(['stop', String(master)]), { code: 0 })
})

t.test('fastify start --watch: an edit after an upgrade is what is served, and not the upgrade', async t => {
  const folder = temporaryFolder(t)
  const modules = path.join(folder, 'node_modules')
  mkdirSync(modules)
  symlinkSync(root, path.join(modules, 'fastify-graceful-upgrade'))
  const app = path.join(folder, 'app.cjs')
  const write = (version: string) =>
    writeFileSync(
      app,
      `module.exports = async (app, options) => {
        app.register(import('fastify-graceful-upgrade'))
        app.addHook('onListen', async () => app.log.info({ version: '${version}', bound: app.addresses() }, 'listening on'))
      }`
    )
  write('1')
  const cli = path.join(root, 'node_modules/.bin/fastify')
  const server = startServer(t, {
    command: [cli, 'start', '--watch', '--log-level=info', `--port=${await freePort()}`, app],
    cwd: folder
  })
  const { pid: first } = await server.line('listening on')
  process.kill(first, 'SIGHUP')
  const { pid: second } = await server.line('generation ready')
  await server.line('generation retired')
  write('2')
  t.match(await server.line('listening on', ({ version }) => version === '2'), { pid: /./ })
  await ends(second)
  t.notOk(server.lines.some(({ msg }) => /^master lost/.test(msg)))
})

for (const supervised of [undefined, []]) {
  const mode = supervised ? 'supervised' : 'standalone'
  t.test(`${mode}: nobody reads the standard error any more, and a worker says something`, async t => {
    const server = startServer(t, supervised ? { supervised } : {})
    const port = await server.port()
    server.child.stderr!.destroy()
    for (let round = 1; round <= 2; round++) {
      server.deploy({ boot: 'exit3' })
      server.kill('SIGHUP')
      await server.line('upgrade failed')
    }
    t.match(await ask(port), { generation: 1 })
    server.deploy({})
    await server.reload()
    await server.line('generation retired')
    t.match(await ask(port), { generation: 4 })
  })
}

t.test('who gives up its rights once it listens can be asked', { skip: !isRoot && 'not root' }, async t => {
  const server = startServer(t, { fixture: 'other-user.js' })
  await server.line('listening on')
  const { mode, pid } = await statusOf(server.pid)
  t.match({ mode, pid }, { mode: 'standalone', pid: server.pid })
  for (const directory of ['/run/graceful-upgrade', '/tmp/graceful-upgrade-0']) {
    t.match(statSync(directory, { throwIfNoEntry: false })?.uid ?? 0, 0, `${directory} is left to root`)
  }
  t.match(await graceful(['stop', String(server.pid)]), { code: 0 })
  t.notOk(server.lines.some(({ level }) => level >= 40))
})

const [major] = process.versions.node.split('.').map(Number) as [number]
const permission = major < 22 ? '--experimental-permission' : '--permission'
const allowed = ['--allow-fs-read=*', ...(major >= 25 ? ['--allow-net'] : [])]

t.test("under Node's permission model an upgrade says which permission is missing", async t => {
  const server = startServer(t, { nodeArgs: [permission, ...allowed] })
  await server.port()
  const { err: noSocket } = await server.line('no control socket: reload by signal')
  t.match(noSocket.message, '--allow-fs-write')
  t.match(noSocket.message, 'graceful-upgrade')
  server.kill('SIGHUP')
  const { err: noUpgrade } = await server.line('upgrade failed')
  t.match(noUpgrade, { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: '--allow-child-process' })
  for (const { message } of [noSocket, noUpgrade]) {
    const said = message.split(/[;:] /) as string[]
    t.same(said, [...new Set(said)], 'nothing is said twice')
  }
  server.kill('SIGTERM')
  t.match(await server.exit(), { code: 0 })
})

t.test("under Node's permission model a server that may is upgraded, again and again", async t => {
  const more = ['--allow-fs-write=/run/*,/tmp/*', '--allow-child-process']
  const server = startServer(t, { nodeArgs: [permission, ...allowed, ...more] })
  const port = await server.port()
  for (const generation of [2, 3]) {
    t.match(await graceful(['reload', String(server.pid)]), { code: 0 })
    t.match(await ask(port), { generation })
  }
})

t.test('a UDP socket on a fixed port answers through upgrades', async t => {
  const probe = createSocket('udp4').bind(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  const server = startServer(t, { fixture: 'udp.js', env: { UDP_PORT: String(port) } })
  await server.line('listening on')

  const client = createSocket('udp4')
  t.teardown(() => client.close())
  const generations = new Set<string>()
  let asked = 0
  let isOver = false
  const asking = (async () => {
    while (!isOver) {
      client.send(String(++asked), port, '127.0.0.1')
      const [answer] = await once(client, 'message', { signal: AbortSignal.timeout(10_000) })
      const [generation, echo] = String(answer).split(': ') as [string, string]
      generations.add(generation)
      if (Number(echo) !== asked) throw new Error(`${echo} instead of ${asked}`)
      await sleep(1)
    }
  })()
  const answered = async (generation: number) => {
    while (!generations.has(String(generation))) await sleep(10)
  }
  await answered(1)
  for (const generation of [2, 3]) {
    await server.reload()
    await server.line('generation retired')
    await answered(generation)
  }
  isOver = true
  await t.resolves(asking, 'no datagram is lost')
  t.same([...generations], ['1', '2', '3'])
})
