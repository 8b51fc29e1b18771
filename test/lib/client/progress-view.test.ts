import t from 'tap'
import { createProgressView } from '../../../lib/client/progress-view.js'
import type { Progress } from '../../../lib/control/messages.js'
import {
  booting,
  counts,
  draining,
  probation,
  ready,
  report,
  retired,
  screen,
  sink
} from '../../helper/control-examples.ts'

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

t.test('who has no process is named without one', async t => {
  const stdout = sink()
  const { show } = createProgressView(stdout)
  show({ ...booting, pid: null } as Progress)
  show({ ...booting, pid: 0 } as Progress) // of an older version
  t.equal(stdout.written(), 'generation 3 booting…\ngeneration 3 booting…\n')
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
  t.equal(stdout.written(), '\rgeneration 3 (pid 4711) booting… 0 ms\x1b[K')
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

t.test('the workers of a generation that boots are told one by one', async t => {
  const worker = (worker: number, ms: number): Progress => ({
    ...{ stage: 'worker', generation: 3, worker, pid: 4711 + worker, ms }
  })
  for (const columns of [undefined, 80]) {
    const stdout = sink(columns)
    let time = 0
    const view = createProgressView(stdout, () => time)
    t.teardown(view.clear)
    let written = ''
    for (const progress of [booting, worker(0, 400), worker(1, 1_250), ready]) {
      view.show(progress)
      written += stdout.written()
      if (columns !== undefined && time === 200)
        t.ok(written.endsWith('\rgeneration 3 (pid 4711) booting… 0.2 s\x1b[K'))
      time += 100
    }
    const lines = screen(written)
    if (columns === undefined) t.equal(lines.shift(), 'generation 3 (pid 4711) booting…')
    t.same(lines, [
      'worker 0 (pid 4711) ready after 0.4 s',
      'worker 1 (pid 4712) ready after 1.2 s',
      'generation 3 (pid 4711) ready after 0.4 s',
      ''
    ])
  }
})

t.test('a check that fails is a line, without what a terminal obeys', async t => {
  const stdout = sink()
  const { show } = createProgressView(stdout)
  const failure = {
    stage: 'unchecked',
    generation: 3,
    request: 'GET /\x1b[2Jhealth',
    outcome: 'answered\n503'
  } as const
  show(failure)
  show({ ...failure, worker: 1 })
  t.equal(
    stdout.written(),
    'generation 3 is not ready: GET /health answered 503\nworker 1 of generation 3 is not ready: GET /health answered 503\n'
  )
})

t.test('on a terminal the time goes on behind it', async t => {
  const stdout = sink(80)
  const view = createProgressView(stdout, () => 0)
  t.teardown(view.clear)
  view.show(booting)
  view.show({ stage: 'unchecked', generation: 3, request: 'GET /health', outcome: 'answered 503' })
  t.match(stdout.written(), /is not ready: GET \/health answered 503.*booting… 0 ms/s)
})

t.test(
  'without a terminal a probation is a line when it begins, one each ten seconds, and one in the end',
  async t => {
    const stdout = sink()
    let time = 0
    const { show } = createProgressView(stdout, () => time)
    show(booting)
    for (const [at, answered] of [
      [0, 0],
      [500, 10],
      [9_900, 150],
      [10_000, 200],
      [10_500, 210],
      [20_000, 400]
    ] as const) {
      time = at
      show(probation(Math.max(19_996 - at, 0), answered, answered === 400 ? 2 : 0))
    }
    show(ready)
    t.same(stdout.written().split('\n'), [
      'generation 3 (pid 4711) booting…',
      'generation 3 (pid 4711) on probation for 20.0 s',
      '9.9 s left; 5xx: 0 of 200 by generation 3, 0 of 2000 by the old one',
      'its time is over; 5xx: 2 of 400 by generation 3, 0 of 4000 by the old one',
      'generation 3 (pid 4711) serves alone',
      ''
    ])
  }
)

t.test(
  'on a terminal of 80 columns it is one line that is rewritten, and its other workers boot behind it',
  async t => {
    const stdout = sink(80)
    const view = createProgressView(stdout, () => 0)
    t.teardown(view.clear)
    view.show(booting)
    view.show(probation(59_996, 0))
    view.show(probation(51_500, 98_765, 2))
    const [begin, live] = screen(stdout.written())
    t.equal(begin, 'generation 3 (pid 4711) on probation for 1 min 0 s')
    t.equal(live, '51.5 s left; 5xx: 2 of 98765 by generation 3, 0 of 987650 by the old one')
    view.show(probation(0, 98_765))
    view.show({ stage: 'worker', generation: 3, worker: 1, pid: 4712, ms: 400 })
    t.same(screen(stdout.written()), ['worker 1 (pid 4712) ready after 0.4 s', ''], 'it boots no more itself')
    view.show(probation(0, 98_765))
    view.show(ready)
    t.same(screen(stdout.written()), ['generation 3 (pid 4711) serves alone', ''])
  }
)

t.test('what a drain waits for is told, without a terminal only when it changes', async t => {
  const heldUpBy = [
    { kind: 'request', method: 'GET', url: '/slow', ms: 1_500 },
    { kind: 'webSocket', url: '/chat', ms: 1_500 }
  ] as const
  const later = heldUpBy.map(each => ({ ...each, ms: 4_500 }))
  const stdout = sink()
  let time = 0
  const { show } = createProgressView(stdout, () => time)
  for (const held of [undefined, heldUpBy, later]) {
    time += 1_500
    show({ ...draining(counts({ active: 1 })), ...(held && { heldUpBy: held }) } as Progress)
  }
  t.equal(
    stdout.written(),
    'generation 2 draining: 1 active\ngeneration 2 draining: 1 active; waits for GET /slow, WebSocket /chat\n'
  )
  const terminal = sink(120)
  const view = createProgressView(terminal)
  t.teardown(view.clear)
  view.show({ ...draining(counts({ active: 1 })), heldUpBy } as Progress)
  t.match(terminal.written(), 'waits for GET /slow (1.5 s), WebSocket /chat (1.5 s)')
})
