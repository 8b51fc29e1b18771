import t from 'tap'
import { htmlOf } from '../../../lib/rehearsal/html.js'
import type { RunReport } from '../../../lib/rehearsal/report.js'
import { sparkline } from '../../../lib/rehearsal/sparkline.js'
import { summaryOf } from '../../../lib/rehearsal/summary.js'
import { rehearsed, reportOf } from '../../helper/rehearsal.ts'

t.test('the verdict stands first, and then what it rests on', async t => {
  t.equal(
    summaryOf(reportOf(rehearsed), 80),
    `PASSED: 0 of 12,431 requests failed, 0 of 50 clients had to reconnect, over 1
  upgrade.

UPGRADE  BOOT    DRAIN  MOVED  TOLD  CUT  FAILED  RECONNECTS  LONGEST  MEMORY
1        400 ms  20 ms  -      -     -    0       0           -        -

LATENCY          ANSWERS  P50     P99     P99.9   LONGEST
around upgrades  900      1.0 ms  4.0 ms  12 ms   15 ms
in calm          11,531   1.0 ms  2.0 ms  3.0 ms  4.0 ms

▃▄█▁
  ▲
longest answer, up to 15 ms; ▲ upgrade
`
  )
})

t.test('what failed, and what was compared, is told', async t => {
  const memory = { old: 61 * 2 ** 20, next: 58 * 2 ** 20 }
  const failed: RunReport = {
    ...rehearsed,
    failures: 2,
    losses: 1,
    changes: [
      { ...rehearsed.changes[0]!, failure: { code: 'X', message: 'no' }, memory, boot: undefined as never }
    ],
    findings: [{ level: 'fault', text: 'Upgrade 1 failed.\u001b[31m' }],
    stays: [
      {
        name: 'events /feed',
        clients: 10,
        opened: 11,
        closed: { cut: 1 },
        received: 9,
        missed: 1,
        doubled: 0
      }
    ],
    interrupted: true
  }
  const summary = summaryOf(
    { ...reportOf(failed, { ...rehearsed, mode: 'restart', failures: 5 }), passed: false },
    Number.POSITIVE_INFINITY
  )
  t.match(
    summary,
    /^FAILED: 2 of 12,431 .*, 1 WebSocket or stream lost, over 1 upgrade \(1 failed\), until it was interrupted\.$/m
  )
  t.match(summary, /^✗ Upgrade 1 failed\.$/m)
  t.match(summary, /^1 +failed +20 ms .* 61 → 58 MB$/m)
  t.match(summary, /^events \/feed: 10 open, opened 11 times, closed 1 × cut, 9 received, 1 missed$/m)
  t.match(summary, /^restart +12,431 +5 +5\.0 /m)
})

t.test('of a line that is too short for all steps each column is the worst of several', async t => {
  t.same(sparkline([1, 16, null, 4], [0, 0, 0, 0], [1], 2), ['█▅', '▲'])
  t.same(sparkline([1, 16, null, 4], [0, 0, 1, 0], [3], 4), ['▃█×▅', '   ▲'])
  t.same(sparkline([null, null], [0, 0], [], 10), ['▁▁', ''])
})

t.test('the page needs no other file, and what it tells of ends no script in it', async t => {
  const nasty = { ...rehearsed, target: '</script><script>alert(1)</script>\u2028' }
  const page = htmlOf(reportOf(nasty))
  t.notMatch(page, /<link|src=|@import|url\(/)
  t.ok(page.includes('uPlot='), 'what draws is in it')
  const [, data] = /<script type="application\/json" id="report">(.*?)<\/script>/s.exec(page)!
  t.match(JSON.parse(data!), { runs: [{ target: nasty.target }] })
})
