import t from 'tap'
import { type DrainReport, isDrainReport, sumReports, totalFate } from '../../lib/drain-report.js'

const one: DrainReport = {
  refused: 1,
  longestPause: 12,
  kinds: {
    http1: { moved: 20, finished: 3, told: 0, cut: 1 },
    webSocket: { moved: 0, finished: 2, told: 2, cut: 0 }
  }
}
const other: DrainReport = {
  refused: 2,
  longestPause: 7,
  kinds: {
    http1: { moved: 1, finished: 0, told: 0, cut: 0 },
    http2: { moved: 0, finished: 4, told: 5, cut: 1 }
  }
}

t.test(
  'the reports of several instances are summed up by kind, and the longest pause is that of all',
  async t => {
    t.same(sumReports([one, other]), {
      refused: 3,
      longestPause: 12,
      kinds: {
        http1: { moved: 21, finished: 3, told: 0, cut: 1 },
        http2: { moved: 0, finished: 4, told: 5, cut: 1 },
        webSocket: { moved: 0, finished: 2, told: 2, cut: 0 }
      }
    })
    t.same(sumReports([one]), one)
    t.equal(sumReports([]), undefined)
  }
)

t.test('the total is that of all kinds', async t => {
  t.same(totalFate(one), { moved: 20, finished: 5, told: 2, cut: 1 })
  t.same(totalFate({ kinds: {} }), { moved: 0, finished: 0, told: 0, cut: 0 })
})

t.test('a report of another process is one only if all its numbers are there', async t => {
  t.ok(isDrainReport(JSON.parse(JSON.stringify(one))))
  t.ok(isDrainReport({ refused: 0, longestPause: 0, kinds: {} }))
  const { cut: _, ...some } = { moved: 0, finished: 0, told: 0, cut: 0 }
  for (const wrong of [
    undefined,
    null,
    'report',
    {},
    { kinds: {} },
    { ...one, kinds: null },
    { ...one, refused: '1' },
    { ...one, kinds: { http1: null } },
    { ...one, kinds: { http1: some } },
    { ...one, kinds: { http1: { ...some, cut: null } } }
  ]) {
    t.notOk(isDrainReport(wrong), JSON.stringify(wrong))
  }
})
