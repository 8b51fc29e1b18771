/** What signals do to a supervised server, from a shell and a terminal; `supervised-pid-1.test.ts` has it as PID 1. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { isAlive } from '../../lib/is-alive.js'
import { signalSpread } from '../../lib/signals/signal-listeners.js'
import { Client } from '../helper/http-client.ts'
import { cli, fixtures, isRunning, startServer } from '../helper/server.ts'
import { ask, ends, half, hasLoaded, inFlight, untilRefused } from '../helper/supervised.ts'
import { noTerminal, startInTerminal } from '../helper/terminal.ts'

for (const [signal, to, upgrades] of [
  ['SIGTERM', 'the master', 1],
  ['SIGTERM', 'the whole group, as systemd sends it', 0],
  ['SIGINT', 'the whole group, as Ctrl-C does', 1]
] as const) {
  t.test(`${signal} to ${to}: the request in flight is answered, and the code is 0`, async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    for (let upgrade = 0; upgrade < upgrades; upgrade++) {
      await server.reload()
      await server.line('generation retired')
    }
    const { pid } = await ask(port)
    const request = inFlight(port, 'drain')
    await request.begun
    process.kill(to === 'the master' ? server.pid : -server.pid, signal)
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    await ends(pid)
    t.equal(
      server.lines.filter(({ msg }) => msg === 'onClose hook').length,
      upgrades + 1,
      'once in each generation'
    )
    t.same(
      server.lines.filter(({ level }) => level > 30),
      []
    )
  })
}

for (const to of ['the master', 'the whole group'] as const) {
  t.test(`SIGTERM to ${to}: the first generation is not ready yet, and answers all the same`, async t => {
    const server = startServer(t, { supervised: [], release: { neverListens: true } })
    const { bound } = await server.line('listening on')
    const { port } = bound[0]
    const request = half(port)
    await request.begun
    process.kill(to === 'the master' ? server.pid : -server.pid, 'SIGTERM')
    t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined, 'nobody waits in vain')
    await request.finish()
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    t.same(
      server.lines.filter(({ msg, level }) => level > 30 || msg === 'generation ready'),
      []
    )
  })
}

for (const way of [
  'SIGTERM to the master, which npm passes on besides',
  'SIGTERM to its worker',
  'app.close() in a worker'
]) {
  t.test(`${way}: new connections are refused while the last request is answered`, async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    const { pid } = await ask(port)
    const request = half(port)
    await request.begun
    if (way === 'app.close() in a worker')
      await new Client({ host: '127.0.0.1', port }).post('/close', '', { Connection: 'close' })
    else process.kill(way === 'SIGTERM to its worker' ? pid : server.pid, 'SIGTERM')
    if (way === 'SIGTERM to the master, which npm passes on besides') {
      await sleep(10)
      server.kill('SIGTERM')
    }
    t.equal(await Promise.race([request.failure, untilRefused(port)]), undefined)
    await request.finish()
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}

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

t.test('SIGTERM while an instance listens and another one boots does not wait for the boot', async t => {
  const options = { drainTimeout: 600_000 }
  const server = startServer(t, { supervised: [], release: { options, neverListens: 'nor boots' } })
  await server.line('listening on')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test('SIGTERM while a plain server listens, and no instance has registered yet', async t => {
  const server = startServer(t, { fixture: 'own-server.js', supervised: [], release: { boot: 'held' } })
  await server.line('listening on')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(server.stderr(), '')
})

t.test('closeSignals: false: the application hears once of a signal to the whole group', async t => {
  const env = { OWN: '1', NEVER_READY: '1', OPTIONS: JSON.stringify({ closeSignals: false }) }
  const server = startServer(t, { fixture: 'own-signals.js', supervised: [], env })
  await server.line('listening on')
  await sleep(50) // its own listener comes after that line
  process.kill(-server.pid, 'SIGTERM')
  await server.line('own listener')
  await sleep(3 * signalSpread)
  t.equal(server.lines.filter(({ msg }) => msg === 'own listener').length, 1)
})

/** A server that drains after SIGTERM, for longer than anybody waits. */
async function startDraining(t: Test) {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  const { pid } = await ask(port)
  const request = inFlight(port, 25_000)
  await request.begun
  server.kill('SIGTERM')
  await server.line('signal aborted')
  return { server, pid, request }
}

t.test('a second signal ends everything at once, with code 1', async t => {
  const { server, pid, request } = await startDraining(t)
  server.kill('SIGINT')
  t.match(await server.line('second signal, ending at once'), { signal: 'SIGINT' })
  t.same(await server.exit(), { code: 1, signal: null })
  t.match(await request.failure, /eof|reset/)
  await ends(pid)
})

t.test('SIGQUIT ends everything at once, with code 1', async t => {
  const server = startServer(t, { supervised: ['--handover', 'false'] })
  const port = await server.port()
  const first = await ask(port)
  const old = inFlight(port, 25_000)
  await old.begun
  const second = await server.reload()
  await server.line('signal aborted') // the old generation drains yet
  const request = inFlight(port, 25_000)
  await request.begun
  server.kill('SIGQUIT')
  t.match(await server.line('ending at once'), { signal: 'SIGQUIT' })
  t.same(await server.exit(), { code: 1, signal: null })
  for (const { failure } of [old, request]) t.match(await failure, /eof|reset/)
  for (const { pid } of [first, second]) await ends(pid)
})

t.test('SIGQUIT ends what drains too slowly after SIGTERM', async t => {
  const { server, pid, request } = await startDraining(t)
  server.kill('SIGQUIT')
  t.same(await server.exit(), { code: 1, signal: null })
  t.match(await request.failure, /eof|reset/)
  await ends(pid)
})

t.test('SIGUSR2 reaches the worker that serves, and never ends the master', async t => {
  const server = startServer(t, { supervised: [], fixture: 'own-usr2.js' })
  const port = await server.port()
  for (const generation of [1, 2]) {
    server.kill('SIGUSR2')
    t.match(await server.line('SIGUSR2 heard'), { generation })
    if (generation === 1) {
      await server.reload()
      await server.line('generation retired')
    }
  }
  t.match(await ask(port), { generation: 2 })
})

t.test(
  'SIGUSR2 in an upgrade whose serving generation is dead: the next one serves all the same',
  async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    const { pid } = await ask(port)
    server.deploy({ boot: 'held' })
    server.kill('SIGHUP')
    await server.line('generation spawned', ({ generation }) => generation === 2)
    process.kill(pid, 'SIGKILL')
    while (isAlive(pid)) await sleep(20) // until the master has waited for it
    server.kill('SIGUSR2')
    const waiting = ask(port)
    server.deploy({})
    t.match(await waiting, { generation: 2 })
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  }
)

t.test('SIGUSR2 that a worker has no use for ends the worker, which is replaced', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  server.kill('SIGUSR2')
  t.match(await server.line('generation died'), { generation: 1, signal: 'SIGUSR2' })
  t.match(await ask(port), { generation: 2 })
})

for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) {
  t.test(`${signal} while the first generation boots ends it`, async t => {
    const server = startServer(t, { supervised: [], release: { boot: 'held' } })
    const { pid } = await server.line('generation spawned')
    server.kill(signal)
    t.same(await server.exit(), { code: signal === 'SIGQUIT' ? 1 : 0, signal: null })
    await ends(pid)
    t.same(
      server.lines.filter(({ msg, level }) => /ready|failed/.test(msg) || level > 30).map(({ msg }) => msg),
      signal === 'SIGQUIT' ? ['ending at once'] : []
    )
  })
}

t.test('SIGHUP while the first generation boots is refused, and SIGUSR2 has no effect', async t => {
  const server = startServer(t, { supervised: [], release: { boot: 'held' } })
  await server.line('generation spawned')
  server.kill('SIGUSR2')
  server.kill('SIGHUP')
  t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' } })
  server.deploy({})
  t.match(await server.line('generation ready'), { generation: 1 })
})

t.test(
  'SIGHUP to a generation that boots does not end it',
  { skip: !existsSync('/proc/self/status') },
  async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    server.deploy({ boot: 'held' })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned', ({ generation }) => generation === 2)
    await hasLoaded(pid)
    process.kill(pid, 'SIGHUP')
    t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_IN_PROGRESS' } })
    server.deploy({})
    t.match(await server.line('generation ready'), { generation: 2 })
    await server.line('generation retired')
    t.match(await ask(port), { pid })
  }
)

t.test(
  'SIGTERM in the middle of an upgrade ends both generations, the one that serves gracefully',
  async t => {
    const server = startServer(t, { supervised: [] })
    const port = await server.port()
    const first = await ask(port)
    server.deploy({ boot: 'hang' })
    server.kill('SIGHUP')
    const { pid } = await server.line('generation spawned', line => line.generation === 2)
    const request = inFlight(port, 'drain')
    await request.begun
    server.kill('SIGTERM')
    t.equal(await request.failure, 'none')
    t.same(await server.exit(), { code: 0, signal: null })
    for (const each of [first.pid, pid]) await ends(each)
  }
)

t.test('the worker goes on as its own master if the master is killed', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  await server.reload()
  await server.line('generation retired')
  const { pid, generation } = await ask(port)
  server.kill('SIGKILL')
  await server.exit()
  await server.line(/master lost/)
  t.match(await ask(port), { pid })
  for (const next of [generation + 1, generation + 2]) {
    process.kill(pid, 'SIGHUP')
    t.match(await server.line('generation ready'), { generation: next })
    await server.line('generation retired')
    t.match(await ask(port), { generation: next })
  }
  process.kill(pid, 'SIGTERM')
  await ends(pid)
  t.match(await ask(port).catch(({ failure }) => failure), /^(refused|reset)$/)
})

for (const how of ['type', 'close'] as const) {
  const title = how === 'type' ? 'Ctrl-C in a terminal' : 'a terminal that is closed'
  t.test(`${title} drains and ends the server`, { skip: noTerminal }, async t => {
    const terminal = await startInTerminal(t, [process.execPath, cli, path.join(fixtures, 'server.js')])
    const { port } = (await terminal.line('listening on')).bound.at(-1)
    await terminal.line('generation ready')
    const worker = await ask(port)
    const request = inFlight(port, 'drain')
    await request.begun
    const ended = terminal.end(how)
    t.equal(await request.failure, 'none')
    t.match(await ended, how === 'type' ? 'ended 0' : /ended -?\d+/)
    await ends(worker.pid)
    const messages = terminal.said().map(({ msg }) => msg)
    t.ok(messages.includes('onClose hook'))
    t.equal(messages.filter(msg => msg === 'generation spawned').length, 1, 'and no upgrade was made of it')
  })
}
