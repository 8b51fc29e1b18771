/** What may go wrong with several workers, and what clients see of it: nothing, or what the dead one had in hand. */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { makeCertificate } from '../helper/certificate.ts'
import { temporaryFolder } from '../helper/folder.ts'
import { graceful } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { cli, fixtures, isRunning, startServer, stop } from '../helper/server.ts'
import { ask, ends, inFlight } from '../helper/supervised.ts'
import { keptClients, startTeam, sum } from '../helper/team.ts'

t.test('a worker may be killed at any time: what it has in hand is lost, and nothing else', async t => {
  const team = await startTeam(t)
  const { server, port, deploy, worker, spawned } = team
  /** Of workers that had clients. */
  let kills = 0

  await t.test('while it serves: it alone is replaced, and its sibling answers meanwhile', async t => {
    for (const index of [0, 1]) {
      deploy({ boot: 'held' })
      const { pid } = await worker(index)
      process.kill(pid, 'SIGKILL')
      kills++
      t.match(await server.line('worker died'), { worker: index, generationPid: pid, signal: 'SIGKILL' })
      t.match(JSON.parse((await (await team.connect(1 - index)).get('/')).body.toString()), {
        worker: 1 - index
      })
      deploy()
      t.match(await server.line('worker ready', line => line.worker === index), { generation: 1 })
      t.match(await worker(index), { restarts: 1 })
    }
  })

  await t.test('while it makes way, or its successor starts', async t => {
    deploy({ boot: 'held' })
    const { pid } = await worker(1)
    const slow = inFlight(port, 1_000)
    process.kill(pid, 'SIGTERM')
    process.kill((await spawned(1)).pid, 'SIGKILL')
    t.match(await server.line('worker failed to start'), {
      worker: 1,
      err: { message: /worker 1 of generation 1/ }
    })
    t.match(await worker(1), { pid }, 'it serves until another one does')
    process.kill(pid, 'SIGKILL')
    kills++
    t.match(await server.line('worker died'), { generationPid: pid })
    deploy()
    await server.line('worker ready', line => line.worker === 1)
    const first = await worker(0)
    process.kill(first.pid, 'SIGTERM')
    const answers = await slow.failure
    t.ok(['none', 'eof', 'reset'].includes(answers))
    t.match(await server.line('worker retired'), { worker: 0, generationPid: first.pid, code: 0 })
  })

  await t.test('while it is one more, or one too many', async t => {
    deploy({ boot: 'held' })
    const failed = team.scale(3)
    process.kill((await spawned(2)).pid, 'SIGKILL')
    await t.rejects(failed, { code: 'GRACEFUL_UPGRADE_EXITED', message: /worker 2 of generation 1/ })
    deploy()
    t.equal(await team.scale(3), 3)
    const { pid } = await worker(2)
    const slow = (await team.connect(2)).get('/slow?ms=30000').then(
      () => 'none',
      ({ failure }) => failure
    )
    await server.line('slow request', line => line.pid === pid)
    t.equal(await team.scale(2), 2)
    await server.line('signal aborted', line => line.pid === pid)
    process.kill(pid, 'SIGKILL')
    kills++
    t.match(await slow, /eof|reset/)
    t.match(await server.line('worker retired'), { worker: 2, signal: 'SIGKILL' })
  })

  await t.test(
    'while it is to be one of the next generation: the error names it, and nothing has changed',
    async t => {
      const before = [(await worker(0)).pid, (await worker(1)).pid]
      const fails = async (boots: object, victim: number, started: number) => {
        deploy({ boots })
        const reload = graceful(['reload', String(server.pid)])
        const pids: number[] = []
        for (let index = 0; index < started; index++) pids.push((await spawned(index)).pid)
        process.kill(pids[victim]!, 'SIGKILL')
        const { code, stderr } = await reload
        t.equal(code, 1)
        t.match(stderr, new RegExp(`worker ${victim} of generation \\d+ \\(pid ${pids[victim]}\\)`))
        for (const pid of pids) await ends(pid)
        t.same([(await worker(0)).pid, (await worker(1)).pid], before)
      }
      await fails({ 0: 'held' }, 0, 1)
      await fails({ 1: 'held' }, 1, 2)
      await fails({ 1: 'held' }, 0, 2)
      deploy()
      t.match(await server.reload(), { generation: 5 })
      await server.line('generation retired')
    }
  )

  const [kept, fresh] = await team.stopLoad()
  t.comment(kills, kept, fresh)
  for (const failures of [kept!, fresh!]) {
    t.same(
      Object.keys(failures).filter(kind => kind !== 'eof' && kind !== 'reset'),
      [],
      'nobody is refused'
    )
  }
  t.ok(
    sum(kept!) <= kills * keptClients && sum(fresh!) <= kills * 3,
    'each client once for each death at most'
  )
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('a release of which one worker fails changes nothing, and says which', async t => {
  const team = await startTeam(t, { args: ['--ready-timeout', '15000'] })
  const { server, deploy, worker, spawned } = team
  const before = [(await worker(0)).pid, (await worker(1)).pid]
  for (const [index, boot, why] of [
    [1, 'throw', 'ended with code 1'],
    [1, 'exit0', 'ended with code 0'],
    [1, 'held', 'took longer than readyTimeout'],
    [0, 'exit3', 'ended with code 3']
  ] as const) {
    deploy({ boots: { [index]: boot } })
    const reload = graceful(['reload', String(server.pid)])
    const pids: number[] = []
    for (let started = 0; started <= index; started++) pids.push((await spawned(started)).pid)
    if (boot === 'held') await stop(pids[index]!)
    const { code, stderr } = await reload
    t.equal(code, 1, `${boot} in worker ${index}`)
    t.match(stderr, new RegExp(`worker ${index} of generation \\d+ \\(pid ${pids[index]}\\) ${why}`))
    for (const pid of pids) await ends(pid)
    t.same([(await worker(0)).pid, (await worker(1)).pid], before)
  }
  t.same(await team.stopLoad(), [{}, {}])
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('signals and scaling come at once: one thing after the other, and no client notices', async t => {
  const team = await startTeam(t)
  const { server, port, deploy, worker, spawned, scale } = team
  const both = async () => [await worker(0), await worker(1)] as const
  const slow = inFlight(port, 1_500)
  await slow.begun
  for (const { pid } of await both()) process.kill(pid, 'SIGTERM')
  const retired = [await server.line('worker retired'), await server.line('worker retired')]
  t.same(new Set(retired.map(({ worker }) => worker)), new Set([0, 1]))
  t.equal(await slow.failure, 'none')
  t.match(await both(), [{ restarts: 1 }, { restarts: 1 }], 'each once')

  deploy({ boot: 'held' })
  const reloaded = server.reload()
  await spawned(0)
  const { pid } = await worker(0)
  process.kill(pid, 'SIGTERM')
  await t.rejects(scale(3), { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' })
  t.match(await worker(0), { pid }, 'the next generation takes its place')
  deploy()
  t.match(await reloaded, { generation: 2 })
  t.match(await server.line('generation retired'), { generation: 1, code: 0 })
  t.equal(server.lines.filter(({ msg }) => msg === 'worker retired').length, 2)

  t.equal(await scale(2), 2, 'as many as there are')
  deploy({ boot: 'held' })
  const scaled = scale(3)
  await spawned(2)
  server.kill('SIGHUP')
  t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' } })
  deploy()
  t.equal(await scaled, 3)
  t.match(await server.reload(), { generation: 3 })
  t.match(await worker(2), { restarts: 0 }, 'so many each later generation has')
  await server.line('generation retired')

  for (const workers of [2, 3]) t.match(await server.line('scaled'), { workers })
  const sizes: number[] = []
  for (const signal of ['SIGTTIN', 'SIGTTOU', 'SIGTTOU', 'SIGTTOU'] as const) {
    server.kill(signal)
    sizes.push((await server.line('scaled')).workers)
  }
  t.same(sizes, [4, 3, 2, 1])
  server.kill('SIGTTOU')
  const refused = await server.line('scaling refused', ({ workers }) => workers === 0)
  t.match(refused, { err: { code: 'GRACEFUL_UPGRADE_USAGE' } })
  t.same(await team.stopLoad(), [{}, {}])
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('a process that is frozen holds up nobody else', async t => {
  const options = { drainTimeout: 1_500, closeTimeout: 500 }
  const team = await startTeam(t, { release: { options } })
  const { server, port, worker, restarted, deploy } = team
  deploy({ options })

  const [first, second] = [await worker(0), await worker(1)]
  await stop(server.pid)
  process.kill(second.pid, 'SIGKILL')
  for (let requests = 0; requests < 5; requests++) t.match(await ask(port), { pid: first.pid })
  server.kill('SIGCONT')
  await server.line('worker died')
  await restarted(1, 1)
  const failures = await team.stopLoad()
  t.same(
    failures.flatMap(each => Object.keys(each)).filter(kind => !/eof|reset/.test(kind)),
    []
  )

  const { pid } = await worker(1)
  await stop(pid)
  for (let requests = 0; requests < 5; requests++)
    t.match(await ask(port), { worker: 0 }, 'its sibling serves')
  t.match((await team.status()).generations[0]?.workers, [{ worker: 0 }, { worker: 1, connections: null }])
  const before = await worker(0)
  process.kill(before.pid, 'SIGTERM')
  t.match(await server.line('worker retired'), { generationPid: before.pid })
  t.match(await ask(port), { worker: 0 }, 'and so does who follows that')
  t.match(await server.reload(), { generation: 2 })
  t.match(await server.line(/does not end, killing it/), { generationPid: pid })
  t.match(await server.line('generation retired'), { generation: 1, signal: 'SIGKILL' })
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test(
  'workers that end by themselves: one is replaced, and so are all that crash; exit 0 of all is the end',
  async t => {
    const team = await startTeam(t)
    const { server, deploy, restarted, connect } = team
    const tell = async (index: number, route: string) =>
      (await connect(index)).post(route, '', { Connection: 'close' })
    deploy({ boots: { 1: 'throw' } })
    await tell(1, '/throw')
    t.match(await server.line('worker died'), { worker: 1, code: 1 })
    const failed = [await server.line('worker failed to start'), await server.line('worker failed to start')]
    t.ok(failed[1]!.time - failed[0]!.time > 900, 'it is not tried again at once')
    deploy()
    await restarted(1, 1)
    await tell(0, '/close')
    t.match(await server.line('worker ended by itself'), { worker: 0, code: 0 })
    await restarted(0, 1)

    const all = [await connect(0), await connect(1)]
    await Promise.all(all.map(client => client.post('/throw', '', { Connection: 'close' })))
    t.match(await server.line('generation died'), { generation: 1, code: 1 })
    t.match(await server.line('generation ready', ({ generation }) => generation === 2), {})
    await team.kept.answered(2)
    t.same(await team.stopLoad(), [{}, {}])

    const last = [await connect(0), await connect(1)]
    await Promise.all(last.map(client => client.post('/close', '', { Connection: 'close' })))
    await server.line('generation ended by itself')
    t.same(await server.exit(), { code: 0, signal: null })
  }
)

t.test(
  'the master is lost: all serve on, one of them is the master, and its upgrade ends the others',
  async t => {
    const team = await startTeam(t, { workers: 3 })
    const { server, port, worker } = team
    const pids = [(await worker(0)).pid, (await worker(1)).pid, (await worker(2)).pid]
    const [heir, orphan, other] = pids as [number, number, number]
    server.kill('SIGKILL')
    t.match(await server.line('master lost, this generation goes on as its own master'), { pid: heir })
    const lost = /master lost: another worker is the master now/
    t.match(await server.line(lost, ({ pid }) => pid === orphan), { master: heir, worker: 1 })
    t.match(await server.line(lost, ({ pid }) => pid === other), { master: heir, worker: 2 })
    const seen = new Set<number>()
    while (seen.size < 3) seen.add((await ask(port)).pid)
    t.same(seen, new Set(pids))
    process.kill(orphan, 'SIGHUP')
    process.kill(other, 'SIGTERM')
    await ends(other)
    process.kill(heir, 'SIGHUP')
    const { pid } = await server.line('generation ready', ({ generation }) => generation === 2)
    await ends(orphan)
    await server.line('generation retired')
    t.match(await ask(port), { pid, generation: 2 })
    await team.kept.answered(2)
    t.same(await team.stopLoad(), [{}, {}])
    t.equal(server.lines.filter(({ msg }) => msg === 'generation ready').length, 2)
    process.kill(heir, 'SIGTERM')
    for (const each of [heir, pid]) await ends(each)
  }
)

t.test('the master is lost: who stops the heir stops all, and nothing is left behind', async t => {
  const listen = [{ port: 0, host: '127.0.0.1' }, { path: 'app.sock' }]
  const team = await startTeam(t, { workers: 3, release: { listen } })
  const { server, port, worker } = team
  const pids = [(await worker(0)).pid, (await worker(1)).pid, (await worker(2)).pid]
  const [heir] = pids as [number]
  t.same(await team.stopLoad(), [{}, {}])
  server.kill('SIGKILL')
  for (const pid of pids) await server.line(/^master lost/, line => line.pid === pid)
  while (!(await graceful(['status', String(heir)])).stdout.includes('serving')) await sleep(20) // it has its socket
  const slow = inFlight(port, 'drain')
  await slow.begun
  t.match(await graceful(['stop', String(heir)]), { code: 0 })
  t.same(pids.filter(isRunning), [])
  t.equal(await slow.failure, 'none')
  t.notOk(existsSync(path.join(server.directory, 'app.sock')))
})

t.test('the master is lost: an uncaught error ends a worker though a client of it is idle', async t => {
  const team = await startTeam(t, { release: { options: { drainTimeout: 600_000 } } })
  const { server, port, worker } = team
  const [heir, orphan] = [(await worker(0)).pid, (await worker(1)).pid]
  await team.stopLoad()
  const [idle, other] = [await team.connect(1), await team.connect(1)]
  server.kill('SIGKILL')
  for (const pid of [heir, orphan]) await server.line(/^master lost/, line => line.pid === pid)
  t.match(await idle.get('/'), { status: 200 })
  await other.post('/throw', '', { Connection: 'close' })
  await ends(orphan)
  t.match(await ask(port), { pid: heir })
})

t.test('the master is lost together with its heir: the next worker is the master, and no other', async t => {
  const team = await startTeam(t, { workers: 4 })
  const { server, port, worker } = team
  const pids: number[] = []
  for (let index = 0; index < 4; index++) pids.push((await worker(index)).pid)
  const [first, second, third, last] = pids as [number, number, number, number]
  await team.stopLoad()
  await stop(first) // or it could be the master before it dies, too
  for (const pid of [server.pid, first]) process.kill(pid, 'SIGKILL')
  const alone = 'master lost, this generation goes on as its own master'
  const orphaned = /master lost: another worker is the master now; this one serves/
  t.match(await server.line(alone), { pid: second })
  for (const pid of [third, last]) {
    await server.line(orphaned, line => line.pid === pid && line.master === second)
  }
  process.kill(last, 'SIGHUP')
  const refusal = await server.line(/ask that one for upgrades/)
  t.match(refusal, { pid: last, master: second })

  process.kill(second, 'SIGKILL')
  t.match(await server.line(alone), { pid: third }, 'it looks from time to time')
  await server.line(orphaned, line => line.pid === last && line.master === third)
  process.kill(third, 'SIGHUP')
  const { pid } = await server.line('generation ready', ({ generation }) => generation === 2)
  await ends(last)
  await server.line('generation retired')
  t.match(await ask(port), { pid, generation: 2 })
  t.equal(server.lines.filter(({ msg }) => msg === alone).length, 2)
  process.kill(third, 'SIGTERM')
  for (const each of [third, pid]) await ends(each)
})

t.test('all workers close in the time of one, whoever is told to, and how often', async t => {
  /** One request of a second in each worker. */
  const busy = async (t: Test, workers: number) => {
    const team = await startTeam(t, { workers })
    await team.stopLoad()
    const clients: Client[] = []
    for (let index = 0; index < workers; index++) clients.push(await team.connect(index))
    const answers = clients.map(client =>
      client.get('/slow?ms=1000').then(
        ({ status }) => status,
        ({ failure }) => failure
      )
    )
    for (const _ of clients) await team.server.line('slow request')
    return { ...team, answers: Promise.all(answers) }
  }
  const times: number[] = []
  for (const workers of [1, 4]) {
    const { server, answers } = await busy(t, workers)
    const begun = performance.now()
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
    times.push(performance.now() - begun)
    t.same(new Set(await answers), new Set([200]))
  }
  t.ok(times[1]! < 2.5 * times[0]!, `${times}`)

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { server, answers, deploy, spawned, worker } = await busy(t, 2)
    deploy({ boot: 'held' })
    process.kill((await worker(1)).pid, 'SIGTERM')
    const { pid } = await spawned(1)
    process.kill(-server.pid, signal)
    t.same(
      await server.exit(),
      { code: 0, signal: null },
      `${signal} to all processes at once, one of which boots`
    )
    t.same(await answers, [200, 200])
    await ends(pid)
  }

  const { server, worker } = await busy(t, 2)
  const pids = [(await worker(0)).pid, (await worker(1)).pid]
  server.kill('SIGTERM')
  await server.line('signal aborted')
  server.kill('SIGINT')
  t.same(await server.exit(), { code: 1, signal: null }, 'the second signal waits for nobody')
  for (const pid of pids) await ends(pid)
})

t.test(
  'a TLS session of any worker resumes with any other, before and after all that may happen to them',
  async t => {
    const https = makeCertificate(temporaryFolder(t))
    const server = startServer(t, {
      fixture: 'tickets.js',
      release: { https },
      supervised: ['--workers', '2']
    })
    await server.port()
    const [, { port }] = server.lines.find(({ msg }) => msg === 'listening on')!.bound
    /** Comes until both workers have been met, with the session of the first one; more than two may have to do with it. */
    const meetAll = async (session?: Buffer) => {
      const pids = new Set<number>()
      let newest: Buffer | undefined
      while (pids.size < 2) {
        const visit = await visitTls(port, session)
        if (session !== undefined && !visit.reused) t.fail(`not by ${visit.pid}`)
        pids.add(visit.pid)
        newest ??= visit.session
      }
      return { pids: [...pids], session: newest as Buffer }
    }
    const { session, pids } = await meetAll()
    const later = await meetAll(session)
    process.kill(pids[0]!, 'SIGTERM')
    await server.line('worker retired')
    t.notOk((await meetAll(session)).pids.includes(pids[0]!))
    await server.reload()
    await server.line('generation retired')
    await meetAll(session)
    await meetAll(later.session)
    process.kill((await visitTls(port)).pid, 'SIGKILL')
    await server.line('worker died')
    await meetAll(session)
    server.kill('SIGTERM')
    await server.exit()
  }
)

async function visitTls(port: number, session?: Buffer) {
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ...(session && { session })
  })
  let newest = session
  socket.on('session', given => (newest = given))
  await once(socket, 'secureConnect')
  const reused = socket.isSessionReused()
  socket.write('GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n')
  const { pid } = JSON.parse((await buffer(socket)).toString().split('\r\n\r\n')[1]!)
  return { pid: pid as number, reused, session: newest }
}

for (const [title, args] of Object.entries({
  'a script in a directory that is a link': ['--directory', 'current', 'server.mjs'],
  'an absolute path through a link': ['/current/server.mjs'],
  'a relative path through a link': ['current/server.mjs']
})) {
  t.test(`${title}: who takes another one's place runs the same release, until a reload`, async t => {
    const folder = temporaryFolder(t)
    const root = path.resolve(fixtures, '../..')
    for (const release of ['1', '2']) {
      const directory = path.join(folder, release)
      mkdirSync(directory)
      symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'))
      const source = readFileSync(path.join(fixtures, 'server.js'), 'utf8')
      const text = source
        .replace("'fastify-graceful-upgrade'", JSON.stringify(path.join(root, 'dist/index.js')))
        .replace("version = '1'", `version = '${release}'`)
      writeFileSync(path.join(directory, 'server.mjs'), text)
    }
    const flip = (release: string) => {
      rmSync(path.join(folder, 'current'), { force: true })
      symlinkSync(release, path.join(folder, 'current'))
    }
    flip('1')
    const words = args.map(word => word.replace(/^\//, `${folder}/`))
    const team = await startTeam(t, {
      cwd: folder,
      command: [process.execPath, cli, '--workers', '2', ...words]
    })
    await team.stopLoad()
    const { server, connect, restarted, worker } = team
    const versionOf = async (index: number) =>
      JSON.parse((await (await connect(index)).get('/')).body.toString()).version
    t.equal(await versionOf(1), '1')
    flip('2')
    process.kill((await worker(1)).pid, 'SIGKILL')
    await restarted(1, 1)
    t.same([await versionOf(0), await versionOf(1)], ['1', '1'])
    await server.reload()
    await server.line('generation retired')
    t.same([await versionOf(0), await versionOf(1)], ['2', '2'])
    server.kill('SIGTERM')
    await server.exit()
  })
}

t.test(
  'who has too much memory is replaced, and no client notices; who always has is left alone for longer and longer',
  async t => {
    const limit = 180
    const teams = [
      await startTeam(t, { workers: 1, args: ['--max-memory', `${limit}M`] }),
      await startTeam(t, { workers: 2, args: ['--max-memory', `${limit}M`] }),
      await startTeam(t, { workers: 2, args: ['--max-memory', '20M'] })
    ] as const
    const [small, tooSmall] = [teams.slice(0, 2), teams[2]]
    for (const { port } of small)
      await new Client({ host: '127.0.0.1', port }).post('/leak', String(limit), { Connection: 'close' })
    for (const { server, stopLoad } of small) {
      t.match(await server.line('worker has too much memory, replacing it'), { maxMemory: limit * 2 ** 20 })
      t.match(await server.line('worker retired'), { code: 0 })
      t.equal(server.lines.filter(({ msg }) => msg === 'worker retired').length, 1)
      t.same(await stopLoad(), [{}, {}])
    }
    for (const _ of [0, 1]) await tooSmall.server.line('worker retired')
    t.same(await tooSmall.stopLoad(), [{}, {}])
  }
)

/** The long form: TEAM_UPGRADES=100, with `--timeout=900`. */
const upgrades = Number(process.env.TEAM_UPGRADES ?? 5)

t.test(`${upgrades} upgrades of 4 workers: the master has no more than after two`, async t => {
  const { server, kept, stopLoad } = await startTeam(t, { workers: 4 })
  let before: Count | undefined
  for (let upgrade = 1; upgrade <= upgrades; upgrade++) {
    const { generation } = await server.reload()
    await kept.answered(generation)
    await server.line('generation retired')
    if (upgrade === 2) before = await fewest(server.pid)
  }
  const after = await fewest(server.pid, ({ descriptors }) => descriptors <= before!.descriptors)
  t.comment(before, after)
  t.ok(after.descriptors <= before!.descriptors)
  t.equal(after.children, 4)
  t.ok(after.rss < before!.rss + 20 * 2 ** 20)
  t.same(await stopLoad(), [{}, {}])
})

interface Count {
  readonly descriptors: number
  readonly children: number
  readonly rss: number
}

/** What a master has, without what is on its way through it at a moment: a connection that balance moves has a descriptor of it. */
async function fewest(pid: number, isEnough = (_: Count) => false): Promise<Count> {
  let least = look(pid)
  for (let looks = 0; looks < 50 && !isEnough(least); looks++) {
    await sleep(10)
    const now = look(pid)
    if (now.descriptors + now.children < least.descriptors + least.children) least = now
  }
  return least
}

function look(pid: number): Count {
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').length
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, children, rss }
}

t.test('a master that has no descriptors left for more workers says so, and goes on', async t => {
  const { server, scale, worker, status, stopLoad } = await startTeam(t)
  const limit = (descriptors: number | string) =>
    execFileSync('prlimit', [`--pid=${server.pid}`, `--nofile=${descriptors}:4096`])
  const before = [(await worker(0)).pid, (await worker(1)).pid]
  const { descriptors } = await fewest(server.pid)
  let errors = 0
  // A failure that leaves some open behind it would need ever more.
  for (let more = 0; more < 100; more++) {
    limit(descriptors + more)
    server.kill('SIGHUP')
    const { msg, err } = await server.line(/^(upgrade failed|generation ready)$/)
    limit(4096)
    if (msg === 'generation ready') break
    errors++
    t.match(
      err,
      { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: /EMFILE|no descriptor left/ },
      `${more} more`
    )
    t.comment(err.message)
    t.same([(await worker(0)).pid, (await worker(1)).pid], before)
  }
  t.ok(errors > 5 && errors < 100, `${errors} upgrades failed`)
  await server.line('generation retired')
  limit((await fewest(server.pid)).descriptors + 4)
  await t.rejects(Promise.resolve().then(() => scale(3)))
  limit(4096)
  t.equal(await scale(3), 3)
  t.match(await server.reload(), {})
  t.equal((await status()).generations[0]!.workers!.length, 3)
  t.same(await stopLoad(), [{}, {}])
})

t.test('a WebSocket of a worker that makes way is told to come again', async t => {
  const server = startServer(t, { fixture: 'long-lived.js', supervised: ['--workers', '2'] })
  const port = await server.port()
  const socket = new WebSocket(`ws://127.0.0.1:${port}/chat?talk=one`)
  const closed = once(socket, 'close')
  await once(socket, 'message')
  const workers = new Set(server.lines.filter(({ msg }) => msg === 'worker ready').map(({ pid }) => pid))
  for (const pid of workers) {
    process.kill(pid, 'SIGTERM')
    await server.line('worker retired')
  }
  t.equal((await closed)[0], 1012)
  t.match(await server.line('talk ended'), { talk: 'one', code: 1012 })
})
