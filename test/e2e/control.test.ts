/** `graceful-upgrade reload`, `status` and `stop`, asked of running servers of both kinds. */
import { once } from 'node:events'
import { existsSync, readdirSync, statSync } from 'node:fs'
import http from 'node:http'
import t, { type Test } from 'tap'
import { controlPaths } from '../../lib/control.js'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { isRunning, type StartOptions, startServer } from '../helper/server.ts'
import { active, inFlight } from '../helper/supervised.ts'

const socketOf = (pid: number) => controlPaths(pid, process.getuid!()).find(existsSync)

const modes: [string, StartOptions][] = [
  ['standalone', {}],
  ['supervised', { supervised: [] }]
]

for (const [mode, options] of modes) {
  t.test(
    `a ${mode} server is reloaded, and the answer comes when the old generation has retired`,
    async t => {
      const server = startServer(t, options)
      const port = await server.port()
      for (const generation of [2, 3]) {
        const { code, stdout, stderr } = await graceful(['reload', String(server.pid)])
        t.same({ code, stderr }, { code: 0, stderr: '' })
        t.match(stdout, new RegExp(`generation ${generation} \\(pid \\d+\\) ready after`))
        t.match(stdout, new RegExp(`generation ${generation - 1} \\(pid \\d+\\) retired after`))
        await server.line('generation retired')
        t.match(String((await get(t, port)).body), new RegExp(`"generation":${generation}\\b`))
      }
    }
  )

  t.test(`a reload of a ${mode} server says how many connections the old generation still has`, async t => {
    const server = startServer(t, options)
    const upload = uploadInFlight(t, await server.port())
    await upload.begun
    const { code, stdout } = await graceful(['reload', String(server.pid)], said => {
      if (/draining: 1 active/.test(said)) upload.end()
    })
    t.equal(code, 0)
    t.match(stdout, /generation 1 draining: 1 active/)
    t.equal(await upload.status, 200)
  })

  t.test(`a reload of a ${mode} server that fails says why, and with which last words`, async t => {
    const server = startServer(t, options)
    const port = await server.port()
    server.deploy({ boot: 'throw' })
    const { code, stderr } = await graceful(['reload', String(server.pid)])
    t.equal(code, 1)
    t.match(stderr, /GRACEFUL_UPGRADE_EXITED/)
    t.match(stderr, /this release throws/)
    t.equal((await get(t, port)).status, 200)
    t.match(await statusOf(server.pid), {
      state: 'serving',
      generations: [{ generation: 1, state: 'serving' }],
      upgrades: [{ generation: 2, result: 'GRACEFUL_UPGRADE_EXITED' }]
    })
  })

  t.test(`a ${mode} server tells its state`, async t => {
    const server = startServer(t, options)
    const port = await server.port()
    const client = new Client({ host: '127.0.0.1', port })
    t.teardown(() => client.close())
    await client.get('/')
    await server.reload()
    await server.line('generation retired')
    const status = await statusOf(server.pid)
    t.match(status, {
      pid: server.pid,
      mode,
      state: 'serving',
      directory: server.directory,
      generations: [
        { generation: 2, state: 'serving', connections: { idle: 1, active: 0, fresh: 0, detached: 0 } }
      ],
      listeners: [{ bound: `127.0.0.1:${port}` }],
      upgrades: [{ generation: 2, result: 'ready' }]
    })
    t.equal(status.generations.length, 1)
    t.ok(status.uptime > 0 && status.upgrades[0]!.at <= Date.now())
    t.equal((await graceful(['status', server.directory])).code, 0, 'it is found by its directory')
  })

  t.test(`a ${mode} server that is stopped answers what it has in hand, and is gone afterwards`, async t => {
    const server = startServer(t, options)
    const request = inFlight(await server.port(), 'drain')
    const socket = socketOf(server.pid)!
    t.equal(statSync(socket).mode & 0o077, 0, 'nobody else can open it')
    await request.begun
    const { code } = await graceful(['stop', String(server.pid)])
    t.equal(code, 0)
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.notOk(existsSync(socket))
  })

  t.test(`a ${mode} server takes a second reload only when the first one is ready`, async t => {
    const server = startServer(t, options)
    await server.port()
    server.deploy({ boot: 'held' })
    const first = graceful(['reload', String(server.pid)])
    await server.line('generation spawned', ({ generation }) => generation === 2)
    t.match(await graceful(['reload', String(server.pid)]), {
      code: 1,
      stderr: /GRACEFUL_UPGRADE_IN_PROGRESS/
    })
    server.deploy({})
    t.equal((await first).code, 0)
  })

  t.test(
    `a ${mode} server has no control socket where none is wanted, and another path where one is`,
    async t => {
      const none = startServer(t, { ...options, env: { GRACEFUL_UPGRADE_CONTROL_SOCKET: 'false' } })
      await none.port()
      t.equal(socketOf(none.pid), undefined)
      t.match(await graceful(['status', String(none.pid)]), { code: 1, stderr: /GRACEFUL_UPGRADE_NO_MASTER/ })

      const path = `${none.directory}/control.sock`
      const other = startServer(t, { ...options, env: { GRACEFUL_UPGRADE_CONTROL_SOCKET: path } })
      await other.port()
      t.equal(socketOf(other.pid), undefined)
      t.equal((await graceful(['reload', path])).code, 0)
    }
  )
}

t.test('a worker that lost its master can be asked itself', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  const { pid } = (await statusOf(server.pid)).generations[0]!
  server.kill('SIGKILL')
  while (isRunning(server.pid) || socketOf(pid) === undefined) await get(t, port)
  t.equal((await graceful(['reload', String(pid)])).code, 0)
  t.match(String((await get(t, port)).body), /"generation":2\b/)
  t.equal((await graceful(['stop', String(pid)])).code, 0)
})

t.test('a process without such a server is told from one with it', async t => {
  t.match(await graceful(['reload', String(process.pid)]), { code: 1, stderr: /GRACEFUL_UPGRADE_NO_MASTER/ })
  t.match(await graceful(['reload', '/nowhere']), { code: 1 })
})

t.test('an application that closes leaves no socket behind', async t => {
  const server = startServer(t, { fixture: 'thousand.js' })
  await server.line('closed all')
  const [folder] = controlPaths(server.pid, process.getuid!()).map(path => path.replace(/[^/]*$/, ''))
  t.notOk(existsSync(folder!) && readdirSync(folder!).some(name => name.startsWith(`${server.pid}.`)))
  t.same(await server.exit(), { code: 0, signal: null })
})

/** A request that has arrived, and is whole only when the test says so. */
function uploadInFlight(t: Test, port: number) {
  const request = http.request({
    ...{ host: '127.0.0.1', port, path: '/upload', method: 'POST', agent: false },
    headers: { 'Content-Type': 'application/octet-stream' }
  })
  t.teardown(() => request.destroy())
  const status = once(request, 'response').then(([response]) => response.resume().statusCode as number)
  status.catch(() => {}) // whoever waits hears of it
  request.write('some')
  return { begun: active(port, 1), end: () => request.end('thing'), status }
}

async function get(t: Test, port: number) {
  const client = new Client({ host: '127.0.0.1', port })
  t.teardown(() => client.close())
  return client.get('/')
}
