/** Several workers, as the commands show and change them. */
import t from 'tap'
import { graceful, statusOf } from '../helper/graceful.ts'
import { startServer } from '../helper/server.ts'

const refused = (message: RegExp) => ({ code: 1, stdout: '', stderr: message })

t.test('the life of a server of several workers that is asked', async t => {
  const server = startServer(t, { supervised: ['--workers', '2'] })
  await server.port()
  const pid = String(server.pid)
  const workersNow = async () => (await statusOf(server.pid)).generations[0]!.workers!

  await t.test('status has a row for each of them, and a sum', async t => {
    t.match(await workersNow(), [
      { worker: 0, state: 'serving', restarts: 0, connections: {}, cpu: Number, rss: Number, elu: Number },
      { worker: 1, state: 'serving', restarts: 0, connections: {}, cpu: Number, rss: Number, elu: Number }
    ])
    const { code, stdout } = await graceful(['status', pid])
    t.equal(code, 0)
    t.match(stdout, /^WORKER .*\n0 +\d+ +1 +serving .*\d+% +\d+ MB +\d+% +0\n1 .*\ntotal +0 /m)
  })

  await t.test('scale adds workers, and takes them away', async t => {
    t.match(await graceful(['scale', pid, '4']), {
      code: 0,
      stdout: '2 workers…\n3 workers…\n4 workers…\n4 workers serve\n',
      stderr: ''
    })
    t.equal((await workersNow()).filter(({ state }) => state === 'serving').length, 4)
    t.match(await graceful(['scale', pid, '-1']), { code: 0, stdout: /\n3 workers serve\n$/ })
    for (const count of [4, 3]) await server.line('scaled', ({ workers }) => workers === count)
    await server.line('worker retired')
    t.same(
      (await workersNow()).map(({ worker }) => worker),
      [0, 1, 2]
    )
  })

  await t.test('what there can not be is refused', async t => {
    t.match(await graceful(['scale', pid, '-3']), refused(/from 1 to 1024 workers, not 0 .*_USAGE/))
    t.match(await graceful(['scale', pid, '1025']), refused(/from 1 to 1024 workers, not 1025 .*_USAGE/))
    await server.line('scaling refused', ({ workers }) => workers === 1_025)
  })

  await t.test('SIGTTIN is one more, SIGTTOU one less', async t => {
    server.kill('SIGTTIN')
    t.match(await server.line('scaled', ({ workers }) => workers === 4), { generation: 1 })
    for (const workers of [3, 2, 1]) {
      server.kill('SIGTTOU')
      await server.line('scaled', line => line.workers === workers)
    }
    server.kill('SIGTTOU')
    t.match(await server.line('scaling refused', ({ workers }) => workers === 0), { err: {} })
    t.match(await graceful(['scale', pid, '+1']), {
      code: 0,
      stdout: /^1 worker…\n2 workers…\n2 workers serve\n$/
    })
  })

  await t.test('reload tells of each, and the next generation has as many as were wanted last', async t => {
    const { code, stdout } = await graceful(['reload', pid])
    t.equal(code, 0)
    t.match(
      stdout,
      /^worker 0 \(pid \d+\) ready after .*\nworker 1 \(pid \d+\) ready after .*\ngeneration 2 .* ready after/m
    )
    t.equal((await workersNow()).length, 2)
  })

  await t.test('while an upgrade is under way their number stays', async t => {
    server.deploy({ boot: 'held' })
    const reload = graceful(['reload', pid])
    await server.line('generation spawned', ({ generation }) => generation === 3)
    t.match(await graceful(['scale', pid, '+1']), refused(/_IN_PROGRESS/))
    server.deploy({})
    t.match(await reload, { code: 0 })
  })

  await t.test('a status that is watched ends with the server', async t => {
    const looks: any[] = []
    let stopped: ReturnType<typeof graceful> | undefined
    const watch = graceful(['status', '--watch', '--json', pid], said => {
      const lines = said.split('\n').slice(0, -1)
      looks.splice(0, looks.length, ...lines.map(line => JSON.parse(line)))
      if (lines.length === 2) stopped ??= graceful(['stop', pid])
    })
    t.match(await watch, { code: 0, stderr: 'graceful-upgrade: the server has ended\n' })
    t.match(looks.slice(0, 2), [{ pid: server.pid }, { pid: server.pid }])
    t.match(await stopped, { code: 0 })
    t.same(await server.exit(), { code: 0, signal: null })
  })
})

t.test('a standalone server says how to start instead', async t => {
  const server = startServer(t)
  await server.port()
  const how = /start the server by graceful-upgrade --workers 4 server.js \(GRACEFUL_UPGRADE_UNSUPPORTED\)/
  t.match(await graceful(['scale', String(server.pid), '2']), refused(how))
  const told = startServer(t, { env: { GRACEFUL_UPGRADE_WORKERS: '2' } })
  t.match(await told.saying(/INVALID_OPTION/), /start the server by graceful-upgrade --workers 4 server.js/)
  t.match(await told.exit(), { code: 1 })
})

t.test('Ctrl-C ends a status that is watched with 0', async t => {
  const server = startServer(t, { supervised: [] })
  await server.port()
  const watch = graceful(['status', '--watch', String(server.pid)], (said, pid) => {
    if (/uptime/.test(said)) process.kill(pid, 'SIGINT')
  })
  t.match(await watch, { code: 0, stderr: '' })
  t.equal((await statusOf(server.pid)).state, 'serving')
})
