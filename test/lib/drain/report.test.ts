import t from 'tap'
import {
  type DrainReport,
  describeLoss,
  isDrainReport,
  sumReports,
  totalFate
} from '../../../lib/drain/report.js'

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

t.test('what was cut while nothing was under way is no loss', async t => {
  const cut = { moved: 0, finished: 0, told: 0, cut: 3 }
  t.equal(
    describeLoss({ kinds: { http1: cut, other: { ...cut, cut: 1 } } }),
    '3 HTTP/1.1 requests, 1 other connection'
  )
  t.equal(
    describeLoss({ kinds: { http1: { ...cut, cutIdle: 3 }, webSocket: { ...cut, cut: 0 } } }),
    undefined
  )
  const both = sumReports([
    { ...one, kinds: { http1: { ...cut, cutIdle: 2 } } },
    { ...one, kinds: { http1: cut } }
  ])
  t.equal(describeLoss(both!), '4 HTTP/1.1 requests')
})

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

t.test('those that were kept are summed up, and said only where there are some', async t => {
  const kept = (count: object): DrainReport => ({
    refused: 0,
    longestPause: 0,
    kinds: { webSocket: { moved: 0, finished: 0, told: 1, cut: 0, ...count } }
  })
  t.same(sumReports([kept({ kept: 2 }), kept({})])?.kinds.webSocket, {
    moved: 0,
    finished: 0,
    told: 2,
    cut: 0,
    kept: 2
  })
  t.same(totalFate(kept({ kept: 2 })), { moved: 0, finished: 0, told: 1, cut: 0, kept: 2 })
  t.notOk('kept' in totalFate(kept({})))
  t.ok(isDrainReport(kept({ kept: 2 })))
  t.ok(isDrainReport(kept({})), 'of an older version')
  t.notOk(isDrainReport(kept({ kept: '2' })))
})
