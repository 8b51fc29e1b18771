/** Defects that reviews found, each with the sequence of events that showed it. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { resolveOptions } from '../../lib/options.js'
import { temporaryFolder } from '../helper/folder.ts'
import { freePorts } from '../helper/free-port.ts'
import { Client } from '../helper/http-client.ts'
import { cli, fixtures, isRunning, startServer } from '../helper/server.ts'
import { ask, ends, inFlight, untilRefused } from '../helper/supervised.ts'

t.test(
  'a master that shall not take SIGTERM for its application does not leave the worker behind',
  async t => {
    const server = startServer(t, { supervised: ['--close-signals', 'false'] })
    const { pid } = await ask(await server.port())
    server.kill('SIGTERM')
    await server.exit()
    await ends(pid)
    t.notOk(isRunning(pid))
  }
)

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

t.test('SIGHUP while the application closes itself starts nothing', async t => {
  const server = startServer(t, {})
  const port = await server.port()
  const request = inFlight(port, 2_000)
  await request.begun
  await new Client({ host: '127.0.0.1', port }).post('/close', '', { Connection: 'close' })
  await server.line('signal aborted')
  server.kill('SIGHUP')
  t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_NOT_SERVING' } })
  t.equal(await request.failure, 'none')
  t.match(await server.exit(), { signal: null })
  t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 0)
})

/** A worker has loaded this package: it listens for SIGHUP. */
async function loaded(pid: number): Promise<void> {
  const hears = () =>
    BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]}`) & 1n
  while (!hears()) await turn()
}

t.test(
  'SIGHUP to a generation that boots does not end it',
  { skip: !existsSync('/proc/self/status') },
  async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    server.deploy({ boot: 'held' })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned', ({ generation }) => generation === 2)
    await loaded(pid)
    process.kill(pid, 'SIGHUP')
    t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' } })
    server.deploy({})
    t.match(await server.line('generation ready'), { generation: 2 })
    await server.line('generation retired')
    t.match(await ask(port), { pid })
  }
)

t.test('idle connections move also where the drain may not take long', async t => {
  const server = startServer(t, { release: { options: { drainTimeout: 400 } } })
  const port = await server.port()
  const clients = Array.from({ length: 50 }, () => new Client({ host: '127.0.0.1', port }))
  t.teardown(() => clients.map(client => client.close()))
  await Promise.all(clients.map(client => client.get('/')))
  await server.reload()
  t.match(await server.line('drained'), { moved: 50, finished: 0, cut: 0 })
  await Promise.all(clients.map(client => client.get('/')))
  t.ok(clients.every(({ opened }) => opened === 1))
})

t.test('what is cut is not counted as finished', async t => {
  const server = startServer(t, { release: { options: { drainTimeout: 300 } } })
  const request = inFlight(await server.port(), 20_000)
  await request.begun
  await server.reload()
  const { finished, cut } = await server.line('drained')
  t.equal(cut, 1)
  t.ok(finished >= 0)
})

t.test('reloads that fail leave no listeners behind in the master', async t => {
  // It fails before it loads anything, as it does so twelve times.
  const preload = 'import fs from "node:fs"; if (fs.existsSync("broken")) process.exit(3)'
  const server = startServer(t, { nodeArgs: ['--import', `data:text/javascript,${preload}`] })
  await server.port()
  writeFileSync(path.join(server.directory, 'broken'), '')
  const { ask: request, findMaster } = await import('../../lib/control-client.js')
  const socket = await findMaster(String(server.pid))
  for (let round = 1; round <= 12; round++) {
    await t.rejects(request(socket, 'reload'), { code: 'GRACEFUL_UPGRADE_EXITED' })
  }
  t.notMatch(server.stderr(), /MaxListenersExceededWarning/)
})

t.test(
  "the socket file of systemd's is not removed",
  { skip: !existsSync('/usr/bin/systemd-socket-activate') },
  async t => {
    for (const words of [[cli, path.join(fixtures, 'server.js')], [path.join(fixtures, 'server.js')]]) {
      const folder = temporaryFolder(t)
      const file = path.join(folder, 'app.sock')
      const server = startServer(t, {
        release: { listen: [{ path: file }] },
        command: [
          'systemd-socket-activate',
          `--listen=${file}`,
          '--setenv=RELEASE',
          '--setenv=PATH',
          process.execPath,
          ...words
        ]
      })
      while (!existsSync(file)) await once(server.child.stderr!, 'data')
      const client = new Client({ path: file })
      t.teardown(() => client.close())
      t.match(JSON.parse((await client.get('/')).body.toString()), { generation: 1 })
      if (words.length > 1) await server.line('generation ready')
      await server.reload()
      await server.line('generation retired')
      t.match(JSON.parse((await client.get('/')).body.toString()), { generation: 2 })
      client.close()
      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null })
      t.ok(existsSync(file))
    }
  }
)

t.test('the inspector of later generations is on a free port', async t => {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port: inspector } = probe.address() as net.AddressInfo
  probe.close()
  await once(probe, 'close')
  const server = startServer(t, { supervised: [], nodeArgs: [`--inspect=127.0.0.1:${inspector}`] })
  await server.port()
  await server.reload()
  await server.line('generation retired')
  const ports = [...server.stderr().matchAll(/Debugger listening on ws:\/\/127\.0\.0\.1:(\d+)/g)].map(
    ([, port]) => port
  )
  t.equal(ports.length, 2)
  t.equal(ports[0], String(inspector))
  t.not(ports[1], ports[0])
})

for (const way of ['SIGTERM to the master', 'SIGTERM to its worker', 'app.close() in a worker']) {
  t.test(`${way}: new connections are refused while the last request is answered`, async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    const { pid } = await ask(port)
    const request = inFlight(port, 2_000)
    await request.begun
    if (way === 'app.close() in a worker')
      await new Client({ host: '127.0.0.1', port }).post('/close', '', { Connection: 'close' })
    else process.kill(way === 'SIGTERM to the master' ? server.pid : pid, 'SIGTERM')
    t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined)
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}

t.test('SIGTERM while a worker that failed is replaced: new connections are refused as well', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  const request = inFlight(port, 2_000)
  await request.begun
  server.deploy({ boot: 'held' })
  await new Client({ host: '127.0.0.1', port }).post('/throw', '', { Connection: 'close' })
  await server.line('generation spawned', ({ generation }) => generation === 2)
  server.kill('SIGTERM')
  t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined)
  t.equal(await request.failure, 'none')
  t.same(await server.exit(), { code: 1, signal: null })
})

t.test('SIGTERM while one that was killed is replaced, and an older one drains yet', async t => {
  const server = startServer(t, { supervised: ['--handover', 'false'] })
  const port = await server.port()
  const request = inFlight(port, 3_000)
  await request.begun
  const { pid } = await server.reload()
  server.deploy({ boot: 'held' })
  process.kill(pid, 'SIGKILL')
  await server.line('generation spawned', ({ generation }) => generation === 3)
  server.kill('SIGTERM')
  t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined)
  t.equal(await request.failure, 'none')
  t.same(await server.exit(), { code: 1, signal: null })
})

t.test(
  'a listener that the new version has dropped refuses while the old one answers its last request',
  async t => {
    const [kept, dropped] = await freePorts(2)
    const options = { claimTimeout: 100 }
    const listen = [{ port: kept }, { port: dropped }]
    const server = startServer(t, { supervised: [], release: { options, listen } })
    await server.port()
    const request = inFlight(kept!, 3_000)
    await request.begun
    server.deploy({ options, listen: [{ port: kept }] })
    t.match(await server.reload(), { unclaimed: [`tcp:localhost:${dropped}`] })
    t.equal(await Promise.race([request.failure, untilRefused(dropped!)]), undefined)
    t.equal(await request.failure, 'none')
  }
)

t.test(
  'a master that has no descriptor left for a listener of the new version stays with the old one',
  { skip: process.platform !== 'linux' },
  async t => {
    const [port] = await freePorts(1)
    const release = { listen: [{ host: '127.0.0.1', port: port! }] }
    const server = startServer(t, { release })
    const limitDescriptors = (count: number) =>
      execFileSync('prlimit', [`--pid=${server.pid}`, `--nofile=${count}:`])
    await server.port()
    server.deploy({ ...release, boot: 'held' })
    server.kill('SIGHUP')
    await server.line('generation spawned')
    limitDescriptors(3) // it keeps those that it has, and gets no other
    server.deploy(release)
    t.match(await server.line('upgrade failed'), {
      err: { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: /no descriptor left for tcp:127\.0\.0\.1/ }
    })
    limitDescriptors(1_000)
    await server.reload()
    await server.line('generation retired')
    t.match(await ask(port!), { generation: 3 })
    t.match(await server.reload(), { generation: 4 })
  }
)

for (const supervised of [undefined, []]) {
  const mode = supervised ? 'supervised' : 'standalone'
  t.test(`${mode}: the longest times that are allowed cut nothing short`, async t => {
    let longest = 0
    try {
      resolveOptions({ drainTimeout: Number.POSITIVE_INFINITY })
    } catch (error) {
      longest = Number(/to (\d+)/.exec((error as Error).message)![1])
    }
    const release = { closeTime: 100, options: { drainTimeout: longest, closeTimeout: longest } }
    const server = startServer(t, { release, ...(supervised && { supervised }) })
    const port = await server.port()
    const first = inFlight(port, 'drain')
    await first.begun
    await server.reload()
    t.equal(await first.failure, 'none')
    t.match(await server.line('generation retired'), { code: 0 })
    const second = inFlight(port, 'drain')
    await second.begun
    server.kill('SIGTERM')
    t.equal(await second.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.notMatch(server.stderr(), /TimeoutOverflowWarning/)
  })
}

for (const when of ['before', 'after'] as const) {
  t.test(
    `a generation whose master is lost ${when} it has loaded this package boots on, and nobody is refused`,
    { skip: process.platform !== 'linux' },
    async t => {
      const [port] = await freePorts(1)
      const release = { listen: [{ port, host: '127.0.0.1' }] }
      const server = startServer(t, { release })
      await server.port()
      server.deploy({ ...release, boot: 'held' })
      server.kill('SIGHUP')
      const { pid } = await server.line('generation spawned')
      if (when === 'after') await loaded(pid)
      server.kill('SIGKILL')
      await server.exit()
      const waiting = ask(port!)
      waiting.catch(() => {})
      await sleep(600) // it hears of that
      const later = ask(port!)
      server.deploy(release)
      for (const answer of [waiting, later]) t.match(await answer, { generation: 2, pid })
    }
  )
}

for (const supervised of [undefined, []]) {
  const mode = supervised ? 'supervised' : 'standalone'
  t.test(`${mode}: a signal that npm passes on besides counts once`, async t => {
    const server = startServer(t, supervised ? { supervised } : {})
    const request = inFlight(await server.port(), 1_000)
    await request.begun
    for (let time = 1; time <= 2; time++) {
      server.kill('SIGINT')
      await sleep(10)
    }
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}
