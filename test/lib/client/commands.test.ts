import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  runJudge,
  runMetrics,
  runReload,
  runScale,
  runStatus,
  runStop
} from '../../../lib/client/commands.js'
import type { Progress } from '../../../lib/control/messages.js'
import type { ControlHandlers } from '../../../lib/control/server.js'
import type { DrainReport } from '../../../lib/drain/report.js'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { controlFolder, never } from '../../helper/control.ts'
import {
  booting,
  counts,
  draining,
  probation,
  ready,
  report,
  retired,
  screen,
  sink,
  status,
  table,
  team
} from '../../helper/control-examples.ts'

const one = { moved: 0, finished: 0, told: 0, cut: 1 }

async function setUp(t: Test, some: Partial<ControlHandlers>, columns?: number) {
  const { open, asked } = controlFolder(t)
  const control = await open(asked, { status: never, ...some })
  return { control, target: control.path, output: { stdout: sink(columns), stderr: sink() } }
}

t.test('status prints the table, or the JSON as it came', async t => {
  const { target, output } = await setUp(t, { status: async () => status })
  t.equal(await runStatus(target, { json: false }, output), 0)
  t.equal(output.stdout.written().split('UPGRADE')[0], table.split('UPGRADE')[0])
  t.equal(await runStatus(target, { json: true }, output), 0)
  t.same(JSON.parse(output.stdout.written()), status)
  t.equal(output.stderr.written(), '')
})

/** A status that is watched until the test interrupts it; `looks` is how often the master was asked. */
async function watching(t: Test, json: boolean, columns?: number) {
  let looks = 0
  const { target, output, control } = await setUp(
    t,
    { status: async () => ({ ...status, uptime: ++looks }) },
    columns
  )
  const before = process.listenerCount('SIGINT')
  const exit = runStatus(target, { json, watch: true }, output)
  void exit.then(() => t.equal(process.listenerCount('SIGINT'), before))
  let said = ''
  /** All that was written until there is this in it, with ^ for the character ESC. */
  async function until(pattern: RegExp): Promise<string> {
    while (!pattern.test((said += output.stdout.written().replaceAll('\x1b', '^')))) await sleep(20)
    return said
  }
  return { exit, output, control, until }
}

t.test('a watched status is asked for again and again, until Ctrl-C', async t => {
  const { exit, output, until } = await watching(t, false)
  const [first, second] = (await until(/uptime +2 ms.+UPGRADE/s)).split('\n\npid ')
  t.match(first, /^pid .+uptime +1 ms.+UPGRADE/s)
  t.match(second, /uptime +2 ms/)
  process.emit('SIGINT')
  t.equal(await exit, 0)
  t.equal(output.stderr.written(), '')
})

t.test('a watched status is a line of JSON each, and is over when the master is gone', async t => {
  const { exit, output, control, until } = await watching(t, true)
  const lines = (await until(/\n.*\n/)).trimEnd().split('\n')
  t.match(
    lines.map(line => JSON.parse(line)),
    [{ uptime: 1, pid: status.pid }, { uptime: 2 }]
  )
  control.close()
  t.equal(await exit, 0)
  t.equal(output.stderr.written(), 'graceful-upgrade: the server has ended\n')
})

t.test('a watched status that nobody reads any more is over', async t => {
  const { exit, output, until } = await watching(t, true)
  await until(/\n/)
  output.stdout.emit('error', Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
  t.equal(await exit, 0)
})

t.test('on a terminal a watched status stays in its place', async t => {
  const { exit, until } = await watching(t, false, 60)
  const said = await until(/uptime +2 ms.+\^\[J/s)
  const [nothing, first, second] = said.split('^[H')
  t.equal(nothing, '')
  t.ok(first!.startsWith('^[2J^[Kpid'), 'the screen is cleared once')
  t.ok(second!.startsWith('^[Kpid'))
  process.emit('SIGINT')
  t.equal(await exit, 0)
})

t.test('a status of nobody is a failure', async t => {
  const output = { stdout: sink(), stderr: sink() }
  t.equal(await runStatus('/no/such', { json: true }, output), 1)
  t.equal(output.stdout.written(), '')
  t.match(output.stderr.written(), /^graceful-upgrade: .*\/no\/such.* \(GRACEFUL_UPGRADE_NO_MASTER\)\n$/)
})

t.test('without a terminal an upgrade is one line per change', async t => {
  const told = [booting, ready, draining(counts({ idle: 12, active: 3 })), retired]
  const { target, output } = await setUp(t, { reload: async show => told.forEach(show) })
  t.equal(await runReload(target, { failOnCut: false }, output), 0)
  t.equal(
    output.stdout.written(),
    `generation 3 (pid 4711) booting…
generation 3 (pid 4711) ready after 0.4 s
generation 2 draining: 12 idle, 3 active
generation 2 (pid 4710) retired after 1.0 s
`
  )
  t.equal(output.stderr.written(), '')
})

t.test('an upgrade that fails shows why, and the last words', async t => {
  const lastWords = 'Error: no database\n    at \x1b[31mapp.js:1\x07\n'
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'exit code 1', { lastWords })
  const reload: ControlHandlers['reload'] = async show => {
    show(booting)
    throw error
  }
  const { target, output } = await setUp(t, { reload }, 80)
  t.equal(await runReload(target, { failOnCut: false }, output), 1)
  t.same(screen(output.stdout.written()), [''])
  t.equal(
    output.stderr.written(),
    `graceful-upgrade: the new process ended before it was ready: exit code 1 (GRACEFUL_UPGRADE_EXITED)
its last words:
  Error: no database
      at app.js:1
`
  )
})

t.test('Ctrl-C leaves the upgrade running, and says so', async t => {
  let isOver = false
  let end: () => void = () => {}
  const reload: ControlHandlers['reload'] = async show => {
    show(booting)
    await new Promise<void>(resolve => {
      end = resolve
    })
    isOver = true
  }
  const { target, output } = await setUp(t, { reload }, 80)
  const before = process.listenerCount('SIGINT')
  const exit = runReload(target, { failOnCut: false }, output)
  while (!output.stdout.readableLength) await new Promise(setImmediate)
  process.emit('SIGINT')
  t.equal(await exit, 130)
  t.match(output.stderr.written(), /the upgrade goes on/)
  t.same(screen(output.stdout.written()), [''])
  t.equal(process.listenerCount('SIGINT'), before)
  t.notOk(isOver)
  end()
  await new Promise(setImmediate)
  t.ok(isOver)
})

t.test('a reload waits for the end of a probation, and shows what becomes of it', async t => {
  const error = new GracefulUpgradeError(
    'GRACEFUL_UPGRADE_ROLLED_BACK',
    'generation 3: it has ended by SIGKILL'
  )
  const reload: ControlHandlers['reload'] = async show => {
    for (const progress of [booting, probation(20_000, 0), probation(10_000, 99)]) show(progress)
    throw error
  }
  const { target, output } = await setUp(t, { reload }, 80)
  t.equal(await runReload(target, { failOnCut: false }, output), 1)
  t.same(screen(output.stdout.written()), ['generation 3 (pid 4711) on probation for 20.0 s', ''])
  t.equal(output.stderr.written(), `graceful-upgrade: ${error.message} (GRACEFUL_UPGRADE_ROLLED_BACK)\n`)
})

t.test('with --no-wait it is over when a probation begins, which goes on', async t => {
  let isOver = false
  const goesOn = createDeferred()
  const reload: ControlHandlers['reload'] = async show => {
    for (const progress of [booting, probation(20_000, 0)]) show(progress)
    await goesOn.promise
    isOver = true
  }
  const { target, output } = await setUp(t, { reload })
  t.equal(await runReload(target, { failOnCut: true, noWait: true }, output), 0)
  t.equal(
    output.stdout.written(),
    'generation 3 (pid 4711) booting…\ngeneration 3 (pid 4711) on probation for 20.0 s\n'
  )
  t.equal(output.stderr.written(), '')
  t.notOk(isOver)
  goesOn.resolve()
  await new Promise(setImmediate)
  t.ok(isOver)
})

t.test('without a probation --no-wait changes nothing, and what fails before it fails', async t => {
  const told = [booting, ready, retired]
  const good = await setUp(t, { reload: async show => told.forEach(show) })
  t.equal(await runReload(good.target, { failOnCut: false, noWait: true }, good.output), 0)
  t.match(good.output.stdout.written(), /retired after/)
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED')
  const bad = await setUp(t, { reload: () => Promise.reject(error) })
  t.equal(await runReload(bad.target, { failOnCut: false, noWait: true }, bad.output), 1)
  t.match(bad.output.stderr.written(), /\(GRACEFUL_UPGRADE_EXITED\)\n$/)
})

t.test('a probation is ended by one word, and where there is none that is a failure', async t => {
  const asked: string[] = []
  const none = () => Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NO_PROBATION'))
  const on = await setUp(t, {
    confirm: async () => void asked.push('confirm'),
    rollback: async () => void asked.push('rollback')
  })
  t.equal(await runJudge(on.target, 'confirm', on.output), 0)
  t.equal(on.output.stdout.written(), 'confirmed: the new generation serves alone\n')
  t.equal(await runJudge(on.target, 'rollback', on.output), 0)
  t.equal(on.output.stdout.written(), 'rolled back\n')
  t.same(asked, ['confirm', 'rollback'])
  const off = await setUp(t, { confirm: none, rollback: none })
  for (const command of ['confirm', 'rollback'] as const) {
    t.equal(await runJudge(off.target, command, off.output), 1)
    t.equal(off.output.stdout.written(), '')
    t.match(off.output.stderr.written(), /no generation is on probation \(GRACEFUL_UPGRADE_NO_PROBATION\)\n$/)
  }
})

t.test('metrics are printed as they come, without what a terminal obeys', async t => {
  const on = await setUp(t, { metrics: async () => 'a{b="\u001b[31m"} 1\n# EOF\n' })
  t.equal(await runMetrics(on.target, on.output), 0)
  t.equal(on.output.stdout.written(), 'a{b=""} 1\n# EOF\n')
  on.control.close()
  t.equal(await runMetrics(on.target, on.output), 1)
  t.match(on.output.stderr.written(), /GRACEFUL_UPGRADE_NO_MASTER/)
})

t.test('a change of the number of workers is told one by one, and in the end', async t => {
  const scale: ControlHandlers['scale'] = async (workers, onProgress) => {
    for (const count of [1, 2]) onProgress({ stage: 'scaling', workers: count })
    return Number(workers)
  }
  const plain = await setUp(t, { scale })
  t.equal(await runScale(plain.target, { workers: '3' }, plain.output), 0)
  t.equal(plain.output.stdout.written(), '1 worker…\n2 workers…\n3 workers serve\n')
  t.equal(await runScale(plain.target, { workers: '1' }, plain.output), 0)
  t.match(plain.output.stdout.written(), /\n1 worker serves\n$/)
  const terminal = await setUp(t, { scale }, 80)
  t.equal(await runScale(terminal.target, { workers: '3' }, terminal.output), 0)
  t.same(screen(terminal.output.stdout.written()), ['3 workers serve', ''])
})

t.test('a change of the number of workers that is refused is a failure', async t => {
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_IN_PROGRESS')
  const { target, output } = await setUp(t, { scale: () => Promise.reject(error) })
  t.equal(await runScale(target, { workers: '+1' }, output), 1)
  t.match(
    output.stderr.written(),
    /another change, is under way: wait .* \(GRACEFUL_UPGRADE_IN_PROGRESS\)\n$/
  )
})

t.test('stop waits for the end of the connection', async t => {
  const { control, target, output } = await setUp(t, {
    stop: async () => void setImmediate(() => control.close())
  })
  t.equal(await runStop(target, output), 0)
  t.match(output.stdout.written(), /^stopping…\nstopped after [\d.]+ m?s\n$/)
})

t.test('a stop that is refused is a failure', async t => {
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
  const { target, output } = await setUp(t, { stop: () => Promise.reject(error) })
  t.equal(await runStop(target, output), 1)
  t.match(output.stderr.written(), /\(GRACEFUL_UPGRADE_CLOSING\)\n$/)
})

t.test('what was cut in the middle of something is told, and is a failure where that is wanted', async t => {
  const told: [DrainReport | null, Partial<Progress>, string | undefined][] = [
    [report, {}, '1 WebSocket, when drainTimeout was over'],
    [
      { ...report, kinds: { http1: { moved: 0, finished: 0, told: 0, cut: 3, cutIdle: 1 }, http2: one } },
      {},
      '2 HTTP/1.1 requests, 1 HTTP/2 session, when drainTimeout was over'
    ],
    [{ ...report, kinds: { http1: { ...one, cutIdle: 1 } } }, {}, undefined],
    [null, { signal: 'SIGKILL', code: null }, 'nobody knows how many, as it ended by SIGKILL'],
    [null, { code: 7 }, 'nobody knows how many, as it ended with exit code 7'],
    [null, {}, undefined]
  ]
  for (const [report, how, loss] of told) {
    const { target, output } = await setUp(t, {
      reload: async show => show({ ...retired, ...how, report } as Progress)
    })
    t.equal(await runReload(target, { failOnCut: false }, output), 0)
    const warned = output.stderr.written()
    if (loss === undefined) t.equal(warned, '')
    else t.match(warned, new RegExp(`^graceful-upgrade: warning: .* were cut: ${loss}\\n$`))
    t.equal(await runReload(target, { failOnCut: true }, output), loss === undefined ? 0 : 1)
    t.equal(/\(GRACEFUL_UPGRADE_CUT\)\n$/.test(output.stderr.written()), loss !== undefined)
  }
})

/** As if a master had said just this. */
async function pretend(t: Test, answer: string) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const target = path.join(folder, 'app.sock')
  const server = net.createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  await once(server.listen(target), 'listening')
  t.teardown(() => {
    server.close()
    rmSync(folder, { recursive: true })
  })
  return target
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const driving = /[\0-\x08\x0b-\x1f\x7f-\x9f\u202e]/

t.test('nothing of an answer drives the terminal', async t => {
  const evil = '\u001b]0;owned\u0007\u001b[2J\u009b31m\r\u202eend'
  const answers = [
    { progress: { ...retired, signal: evil, code: null } },
    { progress: { ...retired, code: evil } },
    { progress: { ...booting, stage: evil } },
    { error: { code: evil, message: evil, lastWords: evil } },
    { error: { code: 'GRACEFUL_UPGRADE_EXITED', message: evil } },
    {
      result: {
        ...status,
        ...{ mode: evil, state: evil, directory: evil, pluginVersion: evil, more: evil },
        listeners: [{ key: evil, bound: evil }],
        upgrades: [{ ...status.upgrades[0], result: evil, message: evil }],
        generations: [
          {
            ...team.generations[0],
            state: evil,
            workers: team.generations[0]!.workers!.map(each => ({ ...each, state: evil }))
          }
        ]
      }
    }
  ]
  for (const answer of answers) {
    const target = await pretend(t, `${JSON.stringify(answer)}\n{"result":null}\n`)
    const output = { stdout: sink(), stderr: sink() }
    await runReload(target, { failOnCut: true }, output)
    for (const json of [true, false]) await runStatus(target, { json }, output)
    const written = output.stdout.written() + output.stderr.written()
    t.notMatch(written, driving, JSON.stringify(answer).slice(0, 30))
    t.ok(written.length > 0)
  }
})

t.test('an answer that is damaged is a failure with a code, and never a defect of the client', async t => {
  const { left, candidate, current } = probation(500, 7)
  const told = { left, candidate, current }
  const whole = [
    { progress: booting },
    { progress: ready },
    { progress: probation(500, 7) },
    { progress: draining(counts({ idle: 1 })) },
    { progress: { ...retired, report } },
    { error: { code: 'GRACEFUL_UPGRADE_EXITED', message: 'it ended', lastWords: 'why' } },
    { result: status },
    { result: { ...team, probation: { generation: 3, ...told } } }
  ]
  const damages = [undefined, null, {}, 'text', -1, 1e300, [null], { length: 1 }]
  const lines = whole.flatMap(answer => damages.flatMap(damage => damaged(answer, damage)))
  const deep = `{"result":${JSON.stringify({ ...status, more: 0 }).replace('"more":0', `"more":${'['.repeat(20_000)}${']'.repeat(20_000)}`)}}`
  lines.push(
    { result: null },
    { result: [] },
    { result: { generations: [null] } },
    { error: {} },
    { progress: {} }
  )
  const texts = [...lines.map(line => JSON.stringify(line)), deep, 'null', '[]', '""', '{"result"', '\0']
  let answer = ''
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const target = path.join(folder, 'app.sock')
  const server = net.createServer(socket => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  await once(server.listen(target), 'listening')
  t.teardown(() => {
    server.close()
    rmSync(folder, { recursive: true })
  })
  let failures = 0
  for (const text of texts) {
    answer = `${text}\n{"result":null}\n`
    const output = { stdout: sink(), stderr: sink() }
    const isStatus = text.startsWith('{"result"')
    const commands = [
      () => runStatus(target, { json: true }, output),
      () => runStatus(target, { json: false }, output),
      () => runReload(target, { failOnCut: false }, output)
    ]
    for (const run of isStatus ? commands.slice(text === deep ? 0 : 1, 2) : commands.slice(2)) {
      const code = await run().catch(error => error)
      const said = output.stderr.written()
      if (code === 0 || (code === 1 && /\(GRACEFUL_UPGRADE_\w+\)\n/.test(said))) failures += code
      else t.fail(`${text.slice(0, 200)}: ${code} ${said}`)
      const shown = output.stdout.written()
      if (text !== deep && /undefined|NaN|\[object|Infinity|e\+\d/.test(shown)) t.fail(`${text}: ${shown}`)
    }
  }
  t.ok(failures > 150 && texts.length > 400, `${failures} failures of ${texts.length} answers`)
})

/** An answer with this in each of its places in turn. */
function damaged(value: unknown, damage: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [damage]
  const places = Array.isArray(value) ? value.entries() : Object.entries(value)
  return [...places].flatMap(([place, part]) =>
    [damage, ...damaged(part, damage)].map(other => {
      const copy = structuredClone(value) as any
      copy[place] = other
      return copy
    })
  )
}
