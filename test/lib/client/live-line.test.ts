import t from 'tap'
import { createLiveLine } from '../../../lib/client/live-line.js'
import { screen, sink } from '../../helper/control-examples.ts'

t.test('a line that would wrap is cut', async t => {
  const stdout = sink(20)
  const live = createLiveLine(stdout, () => 0)
  live.note(seconds => `generation 3 (pid 4711) booting… ${seconds}`)
  t.equal(stdout.written(), '\rgeneration 3 (pid …\x1b[K')
  live.clear()
  t.equal(stdout.written(), '\r\x1b[K')
  live.clear()
  t.equal(stdout.written(), '')
})

t.test('a line to stay takes the place of the note', async t => {
  const stdout = sink(20)
  const live = createLiveLine(stdout, () => 0)
  live.note(() => 'waiting')
  live.line('done\n\x1b[31m')
  t.same(screen(stdout.written()), ['done ', ''])
})

t.test('without a terminal every note is a line', async t => {
  const stdout = sink()
  const live = createLiveLine(stdout, () => 0)
  live.note(seconds => `stopping… ${seconds}`)
  live.clear()
  t.equal(stdout.written(), 'stopping…\n')
})
