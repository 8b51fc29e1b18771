/** `graceful-upgrade reload`, `status` and `stop`, asked of running servers of both kinds. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { controlPaths } from '../../lib/control/place.js'
import { makeCertificate } from '../helper/certificate.ts'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { ended, startProgram } from '../helper/program.ts'
import { cli, fixtures, type StartOptions, startServer } from '../helper/server.ts'
import { active, inFlight, untilRefused } from '../helper/supervised.ts'

const socketOf = (pid: number) => controlPaths(pid, process.getuid!()).find(existsSync)

const modes: [string, StartOptions][] = [
  ['standalone', {}],
  ['supervised', { supervised: [] }]
]

for (const [mode, options] of modes) {
  t.test(`the life of a ${mode} server that is asked`, async t => {
    const server = startServer(t, options)
    const port = await server.port()
    const pid = String(server.pid)
    const client = new Client({ host: '127.0.0.1', port })
    t.teardown(() => client.close())
    const socket = socketOf(server.pid)!
    t.equal(statSync(socket).mode & 0o077, 0, 'nobody else can open its socket')

    await t.test('a reload that fails says why, and with which last words', async t => {
      server.deploy({ boot: 'throw' })
      const { code, stderr } = await graceful(['reload', pid])
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

    await t.test('a reload says how many connections the old one still has, and ends with it', async t => {
      const upload = uploadInFlight(t, port)
      await upload.begun
      server.deploy({ boot: 'held' })
      const reload = graceful(['reload', pid], said => {
        if (/draining: 1 active/.test(said)) upload.end()
      })
      await server.line('generation spawned', ({ generation }) => generation === 3)
      const second = await graceful(['reload', pid])
      t.match(second, { code: 1, stderr: /GRACEFUL_UPGRADE_IN_PROGRESS/ }, 'a second one is refused')
      server.deploy({})
      const { code, stdout, stderr } = await reload
      t.same({ code, stderr }, { code: 0, stderr: '' })
      t.match(stdout, /generation 3 \(pid \d+\) ready after/)
      t.match(stdout, /generation 1 draining: 1 active/)
      t.match(stdout, /generation 1 \(pid \d+\) retired after/)
      await server.line('generation retired')
      t.equal(await upload.status, 200)
      t.match(String((await client.get('/')).body), /"generation":3\b/)
    })

    await t.test('the next one, too, is answered when the old generation has retired', async t => {
      const { code, stdout, stderr } = await graceful(['reload', pid])
      t.same({ code, stderr }, { code: 0, stderr: '' })
      t.match(stdout, /generation 4 \(pid \d+\) ready after/)
      t.match(stdout, /generation 3 \(pid \d+\) retired after/)
      await server.line('generation retired')
      t.match(String((await get(t, port)).body), /"generation":4\b/)
    })

    await t.test('it tells its state', async t => {
      const status = await statusOf(server.pid)
      t.match(status, {
        pid: server.pid,
        mode,
        state: 'serving',
        directory: server.directory,
        generations: [
          { generation: 4, state: 'serving', connections: { idle: 1, active: 0, fresh: 0, detached: 0 } }
        ],
        listeners: [{ bound: `127.0.0.1:${port}` }]
      })
      t.equal(status.generations.length, 1)
      t.same(
        status.upgrades.slice(0, 3).map(({ generation, result }) => ({ generation, result })),
        [
          { generation: 4, result: 'ready' },
          { generation: 3, result: 'ready' },
          { generation: 2, result: 'GRACEFUL_UPGRADE_EXITED' }
        ]
      )
      t.ok(status.uptime > 0 && status.upgrades.every(({ at }) => at <= Date.now()))
      t.equal((await graceful(['status', server.directory])).code, 0, 'it is found by its directory')
    })

    await t.test('when it is stopped it answers what it has in hand, and is gone afterwards', async t => {
      const request = inFlight(port, 'drain')
      await request.begun
      t.equal((await graceful(['stop', pid])).code, 0)
      t.equal(await request.failure, 'none')
      t.same(await server.exit(), { code: 0, signal: null })
      t.notOk(existsSync(socket))
    })
  })

  t.test(
    `a ${mode} server has no control socket where none is wanted, and another path where one is`,
    async t => {
      const none = startServer(t, { ...options, env: { GRACEFUL_UPGRADE_CONTROL_SOCKET: 'false' } })
      const path = `${none.directory}/control.sock`
      const other = startServer(t, { ...options, env: { GRACEFUL_UPGRADE_CONTROL_SOCKET: path } })
      await Promise.all([none, other].map(server => server.port()))
      t.equal(socketOf(none.pid), undefined)
      t.match(await graceful(['status', String(none.pid)]), { code: 1, stderr: /GRACEFUL_UPGRADE_NO_MASTER/ })
      t.equal(socketOf(other.pid), undefined)
      t.equal((await graceful(['reload', path])).code, 0)
    }
  )
}

t.test(
  'idle connections that are ended at the deadline are not told as cut in the middle of something',
  async t => {
    const env = { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '300' }
    const server = startServer(t, { fixture: 'tls.js', env })
    makeCertificate(server.directory)
    const port = await server.port()
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
    t.teardown(() => socket.destroy())
    socket.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n')
    await once(socket, 'data')
    const { code, stdout, stderr } = await graceful(['reload', '--fail-on-cut', String(server.pid)])
    t.match(stdout, /1 cut\n/)
    t.same({ code, stderr }, { code: 0, stderr: '' })
    t.match((await server.line('generation retired')).cutIdle, 1)
  }
)

t.test(
  'a stop of a master that is killed before it reads is no success while its worker serves on, and can be asked itself',
  async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    const worker = (await statusOf(server.pid)).generations[0]!.pid!
    server.kill('SIGSTOP')
    const { code, stderr } = await graceful(['stop', String(server.pid)], (said, client) => {
      if (said === 'stopping…\n') void connected(client).then(() => server.kill('SIGKILL'))
    })
    t.equal(code, 1)
    t.match(
      stderr,
      `process ${worker} of it goes on, as its own master: stop that one (GRACEFUL_UPGRADE_MASTER_LOST)`
    )
    t.equal((await get(t, port)).status, 200)
    while (socketOf(worker) === undefined) await get(t, port)
    t.equal((await graceful(['reload', String(worker)])).code, 0)
    t.match(String((await get(t, port)).body), /"generation":2\b/)
    t.equal((await graceful(['stop', String(worker)])).code, 0)
    await untilRefused(port)
  }
)

t.test('a stop whose onClose hook exits has succeeded: the process is gone', async t => {
  const server = startServer(t, { release: { exitOnClose: 7 } })
  await server.port()
  t.match(await graceful(['stop', String(server.pid)]), { code: 0, stderr: '' })
  t.same(await server.exit(), { code: 7, signal: null })
})

/** A client has looked whether somebody listens, and asks: it has two connections beside its standard streams. */
async function connected(pid: number): Promise<void> {
  const inodeOf = (fd: string) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
    } catch {
      return undefined // it is closed meanwhile
    }
  }
  for (;;) {
    const inodes = readdirSync(`/proc/${pid}/fd`).map(fd => Number(fd) > 2 && inodeOf(fd))
    const table = readFileSync('/proc/net/unix', 'utf8') // 03 is connected
    if (inodes.filter(inode => inode && new RegExp(` 03 +${inode}\\b`).test(table)).length === 2) return
    await sleep(10)
  }
}

const inNamespace = ['unshare', '--fork', '--kill-child', '--pid', '--mount-proc']
const noNamespace =
  spawnSync(inNamespace[0]!, [...inNamespace.slice(1), 'true']).status !== 0 &&
  'no new PID namespace may be made'

t.test(
  'two masters with the same id, each in a PID namespace of its own, are told apart',
  { skip: noNamespace },
  async t => {
    const start = () => {
      const command = [...inNamespace, process.execPath, cli, `${fixtures}/server.js`]
      return startServer(t, { command, hasPidNamespace: true })
    }
    const servers = [start(), start()]
    const ports = await Promise.all(servers.map(server => server.port()))
    await Promise.all(servers.map(server => server.line('generation ready')))
    /** The process that is 1 in there, as it is known here. */
    const [first, second] = servers.map(({ pid }) =>
      Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
    ) as [number, number]
    const inside = (pid: number, ...words: string[]) =>
      ended(
        startProgram(t, 'nsenter', [
          '--target',
          String(pid),
          '--pid',
          '--mount',
          process.execPath,
          cli,
          ...words
        ])
      )

    for (const [index, pid] of [first, second].entries()) {
      const { output } = await inside(pid, 'status', '--json', '1')
      t.match(JSON.parse(output), { pid: 1, directory: servers[index]!.directory }, 'from inside')
      t.match(await statusOf(pid), { pid: 1, directory: servers[index]!.directory }, 'from outside')
    }
    await inside(first, 'stop', '1') // at the end of PID 1 the system kills it
    await servers[0]!.exit()
    t.equal((await get(t, ports[1]!)).status, 200, 'the other serves on')
    t.equal((await graceful(['reload', String(second)])).code, 0)
    t.match(
      await graceful(['status', '1']),
      { code: 1, stderr: /NO_MASTER/ },
      'here process 1 is another one'
    )
    t.match(await graceful(['stop', String(second)]), { code: 0, stderr: '' })
    await servers[1]!.exit()
  }
)

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
