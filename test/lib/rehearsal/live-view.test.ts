import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createLiveView } from '../../../lib/rehearsal/live-view.js'
import { parseRequests } from '../../../lib/rehearsal/requests.js'
import { createTally } from '../../../lib/rehearsal/tally.js'
import { screen, sink } from '../../helper/control-examples.ts'

const [request] = parseRequests(['/']) as [any]

t.test('each second has a line with what came in it, and each upgrade one', async t => {
  const stdout = sink()
  const view = createLiveView(stdout, 'upgrade')
  const tally = createTally()
  view.note('starting')
  tally.answered(request, 200, performance.now())
  view.follow(tally)
  tally.answered(request, 200, performance.now() - 3)
  tally.reconnect(1)
  view.began(1)
  view.ready(1, { boot: 412, generation: 2 })
  view.ready(2, { failure: { code: 'X', message: 'no way' } })
  let said = ''
  while (!said.includes('1 s:')) {
    await sleep(10)
    said += stdout.written()
  }
  view.stop()
  t.match(
    said,
    /^starting…\n── upgrade 1: generation 2 serves after 412 ms\n── upgrade 2: failed, no way\n1 s: 1 answer, 0 failures, 1 reconnect, longest 3\.\d ms\n/
  )
})

t.test('on a terminal an upgrade is seen while it goes on', async t => {
  const stdout = sink(80)
  const view = createLiveView(stdout, 'restart')
  view.began(3)
  view.line('a second')
  t.match(screen(stdout.written()), ['a second', /^restart 3… 0 ms/])
  view.ready(3, { boot: 1_200 })
  t.match(screen(stdout.written()).at(-2), '── restart 3: the next one serves after 1.2 s')
  view.stop()
})
