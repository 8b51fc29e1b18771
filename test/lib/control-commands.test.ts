import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import type { ConnectionCounts } from '../../lib/connections.js'
import type { Progress, Status } from '../../lib/control.js'
import {
  createProgressView,
  duration,
  runReload,
  runStatus,
  runStop,
  statusTable
} from '../../lib/control-commands.js'
import { type ControlHandlers, openControl } from '../../lib/control-server.js'
import type { DrainReport } from '../../lib/drain-report.js'
import { GracefulUpgradeError } from '../../lib/errors.js'

const now = Date.UTC(2030, 0, 1)

const report: DrainReport = {
  refused: 0,
  longestPause: 12,
  kinds: {
    http1: { moved: 20, finished: 3, told: 0, cut: 0 },
    webSocket: { moved: 0, finished: 1, told: 2, cut: 1 }
  }
}

const status: Status = {
  pid: 4709,
  mode: 'standalone',
  version: '0.1.0',
  directory: '/srv/app',
  uptime: 93_784_000,
  state: 'upgrading',
  generations: [
    { generation: 2, pid: 4710, state: 'serving', ms: 61_000, connections: counts({ idle: 12, active: 3 }) },
    { generation: 3, pid: 4711, state: 'booting', ms: 449, connections: null }
  ],
  listeners: [{ key: 'tcp:localhost:3000', bound: '127.0.0.1:3000' }],
  upgrades: [
    { generation: 2, pid: 4710, at: now - 61_500, ms: 500, result: 'ready', report },
    {
      generation: 1,
      pid: 99,
      at: now - 7_200_000,
      ms: 40,
      result: 'GRACEFUL_UPGRADE_EXITED',
      message: 'it\u001b[31m ended\nearly'
    }
  ]
}

const table = `pid        4709
mode       standalone
state      upgrading
uptime     1 d 2 h
directory  /srv/app
version    0.1.0

GENERATION  PID   STATE    FOR        IDLE  ACTIVE  FRESH  DETACHED
2           4710  serving  1 min 1 s  12    3       0      0
3           4711  booting  0.4 s      ?     ?       ?      ?

LISTENER            BOUND
tcp:localhost:3000  127.0.0.1:3000

UPGRADE  PID   AGE        TOOK   MOVED  FINISHED  TOLD  CUT  RESULT
2        4710  1 min 1 s  0.5 s  20     4         2     1    ready
1        99    2 h 0 min  0.0 s  -      -         -     -    GRACEFUL_UPGRADE_EXITED: it ended early
`

function counts(some: Partial<ConnectionCounts>): ConnectionCounts {
  return { fresh: 0, idle: 0, active: 0, detached: 0, ...some }
}

const booting: Progress = { stage: 'booting', generation: 3, pid: 4711 }
const ready: Progress = { stage: 'ready', generation: 3, pid: 4711, ms: 400 }
const retired: Progress = {
  stage: 'retired',
  generation: 2,
  pid: 4710,
  ms: 1_000,
  code: 0,
  signal: null,
  report: null
}

function draining(connections: ConnectionCounts | null): Progress {
  return { stage: 'draining', generation: 2, pid: 4710, connections }
}

/** A stream that remembers, plain or as a terminal of some width. */
function sink(columns?: number) {
  const stream = new PassThrough().setEncoding('utf8')
  const written = () => (stream.read() as string | null) ?? ''
  return columns === undefined
    ? Object.assign(stream, { written })
    : Object.assign(stream, { written, isTTY: true, columns })
}

async function setUp(t: Test, some: Partial<ControlHandlers>, columns?: number) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const never = () => new Promise<never>(() => {})
  const handlers = { status: never, reload: never, stop: never, ...some }
  const control = await openControl(handlers, path.join(folder, 'app.sock'))
  t.teardown(() => {
    control.close()
    rmSync(folder, { recursive: true })
  })
  return { control, target: control.path, output: { stdout: sink(columns), stderr: sink() } }
}

/** What a terminal shows in the end: a line that is rewritten in place leaves nothing behind. */
function screen(written: string): string[] {
  return written.split('\n').map(line => line.slice(line.lastIndexOf('\r') + 1).replace('\x1b[K', ''))
}

t.test('a time is told in two units at most', async t => {
  const times: [number, string][] = [
    [0, '0.0 s'],
    [449, '0.4 s'],
    [59_999, '59.9 s'],
    [60_000, '1 min 0 s'],
    [3_599_999, '59 min 59 s'],
    [3_600_000, '1 h 0 min'],
    [86_399_999, '23 h 59 min'],
    [86_400_000, '1 d 0 h']
  ]
  for (const [ms, text] of times) t.equal(duration(ms), text)
})

t.test('a status is a table, whose columns are aligned', async t => {
  t.equal(statusTable(status, now), table)
})

t.test('what there is none of has no table', async t => {
  const lines = statusTable({ ...status, listeners: [], upgrades: [], generations: [] }, now)
  t.notMatch(lines, /LISTENER|UPGRADE/)
  t.match(lines, /GENERATION/)
})

t.test('status prints the table, or the JSON as it came', async t => {
  const { target, output } = await setUp(t, { status: async () => status })
  t.equal(await runStatus(target, { json: false }, output), 0)
  t.equal(output.stdout.written().split('UPGRADE')[0], table.split('UPGRADE')[0])
  t.equal(await runStatus(target, { json: true }, output), 0)
  t.same(JSON.parse(output.stdout.written()), status)
  t.equal(output.stderr.written(), '')
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
  t.equal(await runReload(target, output), 0)
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

t.test('without a terminal the connections are told when they change, and once a second at most', async t => {
  const stdout = sink()
  let time = 0
  const { show } = createProgressView(stdout, () => time)
  for (const [at, active] of [
    [0, 5],
    [100, 4],
    [999, 3],
    [1_000, 3],
    [3_000, 3],
    [3_100, 2],
    [3_200, 0]
  ] as const) {
    time = at
    show(draining(counts({ active })))
  }
  time = 5_000
  show(draining(counts({})))
  t.same(stdout.written().split('\n'), [
    'generation 2 draining: 5 active',
    'generation 2 draining: 3 active',
    'generation 2 draining: 2 active',
    'generation 2 draining: no connections',
    ''
  ])
})

t.test('an end by force is told', async t => {
  const stdout = sink()
  const { show } = createProgressView(stdout)
  show(draining(null))
  show({ ...retired, code: null, signal: 'SIGKILL' } as Progress)
  show({ ...retired, code: 3 } as Progress)
  show({ ...retired, report } as Progress)
  const lines = stdout.written().split('\n')
  t.equal(lines[0], 'generation 2 draining')
  t.match(lines[1], /retired after 1\.0 s, by SIGKILL$/)
  t.match(lines[2], /retired after 1\.0 s, with exit code 3$/)
  t.match(lines[3], /retired after 1\.0 s: 20 moved, 4 finished, 2 told, 1 cut$/)
})

t.test('a terminal sees one line that is rewritten, and keeps what is worth reading', async t => {
  const stdout = sink(80)
  let time = 0
  const view = createProgressView(stdout, () => time)
  t.teardown(view.clear)
  view.show(booting)
  t.equal(stdout.written(), '\rgeneration 3 (pid 4711) booting… 0.0 s\x1b[K')
  time = 1_250
  const alive = setInterval(() => {}, 1_000) // the view's own clock keeps no process alive
  while (!stdout.readableLength) await new Promise(resolve => stdout.once('readable', resolve))
  clearInterval(alive)
  t.equal(stdout.written(), '\rgeneration 3 (pid 4711) booting… 1.2 s\x1b[K', 'the clock goes on')
  view.show(ready)
  for (const active of [3, 2, 1]) view.show(draining(counts({ idle: 12, active })))
  const drain = stdout.written()
  t.match(
    drain,
    '\rgeneration 2 draining: 12 idle, 3 active\x1b[K\rgeneration 2 draining: 12 idle, 2 active\x1b[K'
  )
  t.same(screen(drain), [
    'generation 3 (pid 4711) ready after 0.4 s',
    'generation 2 draining: 12 idle, 1 active'
  ])
  view.show(retired)
  t.same(screen(stdout.written()), ['generation 2 (pid 4710) retired after 1.0 s', ''])
})

t.test('a line that would wrap is cut', async t => {
  const stdout = sink(20)
  const view = createProgressView(stdout)
  view.show(booting)
  t.equal(stdout.written(), '\rgeneration 3 (pid …\x1b[K')
  view.clear()
  t.equal(stdout.written(), '\r\x1b[K')
  view.clear()
  t.equal(stdout.written(), '')
})

t.test('an upgrade that fails shows why, and the last words', async t => {
  const lastWords = 'Error: no database\n    at \x1b[31mapp.js:1\x07\n'
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'exit code 1', { lastWords })
  const reload: ControlHandlers['reload'] = async show => {
    show(booting)
    throw error
  }
  const { target, output } = await setUp(t, { reload }, 80)
  t.equal(await runReload(target, output), 1)
  t.same(screen(output.stdout.written()), [''])
  t.equal(
    output.stderr.written(),
    `graceful-upgrade: the next generation ended before it was ready: exit code 1 (GRACEFUL_UPGRADE_EXITED)
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
  const exit = runReload(target, output)
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

t.test('stop waits for the end of the connection', async t => {
  const { control, target, output } = await setUp(t, {
    stop: async () => void setImmediate(() => control.close())
  })
  t.equal(await runStop(target, output), 0)
  t.match(output.stdout.written(), /^stopping…\nstopped after \d+\.\d s\n$/)
})

t.test('a stop that is refused is a failure', async t => {
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
  const { target, output } = await setUp(t, { stop: () => Promise.reject(error) })
  t.equal(await runStop(target, output), 1)
  t.match(output.stderr.written(), /\(GRACEFUL_UPGRADE_CLOSING\)\n$/)
})
