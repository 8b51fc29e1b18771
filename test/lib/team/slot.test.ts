import t from 'tap'
import { createSlot, type Slot } from '../../../lib/team/slot.js'
import { listenToLog, type PlayedGeneration, playGeneration } from '../../helper/generation.ts'
import { stopTimers } from '../../helper/timers.ts'

t.test('how long one has served ends the row of deaths, not for how long there was none', async t => {
  const passTimers = stopTimers(t)
  let time = 0
  const pass = async (ms: number) => {
    time += ms
    await passTimers(ms)
  }
  const started: PlayedGeneration[] = []
  const slot: Slot = createSlot({
    index: 1,
    log: listenToLog().log,
    generation: 2,
    isLate: false,
    start() {
      const worker = playGeneration(started.length + 1)
      started.push(worker)
      return worker
    },
    probe() {},
    begin() {},
    onFailed() {},
    onDown: () => true,
    onRestart() {},
    onEnded() {},
    prepare: async () => {},
    onUp() {},
    onReady() {},
    onLeaving() {},
    now: () => time
  })
  /** The newest one is ready, and serves for so long until it dies. */
  const serve = async (ms: number) => {
    started.at(-1)!.becomeReady()
    await pass(0)
    await pass(ms)
    started.at(-1)!.end(1)
    await pass(0)
  }
  void slot.boot()
  started[0]!.becomeReady()
  await pass(0)
  slot.serve([])
  await serve(100)
  for (const pause of [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000]) {
    await serve(100)
    const before = started.length
    await pass(pause - 1)
    t.equal(started.length, before, `it is followed after ${pause} ms`)
    await pass(1)
    t.equal(started.length, before + 1)
  }

  started.at(-1)!.becomeReady()
  await pass(0)
  await pass(24 * 3_600_000)
  void slot.recycle('signal')
  await pass(1)
  const before = started.length
  await serve(100)
  await pass(1)
  t.equal(started.length, before + 1, 'the successor of one that was healthy is followed at once')
})
