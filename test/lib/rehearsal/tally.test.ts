import t from 'tap'
import { RequestFailure } from '../../../lib/rehearsal/failure.js'
import { latenciesOf, timelineOf } from '../../../lib/rehearsal/latencies.js'
import { parseRequests } from '../../../lib/rehearsal/requests.js'
import { createTally } from '../../../lib/rehearsal/tally.js'

const [request, strict] = parseRequests(['GET /', '{"path":"/strict","expect":204}']) as [any, any]

/** With a clock that the test sets. */
function setUp() {
  const clock = { now: 0 }
  return { clock, tally: createTally(() => clock.now) }
}

t.test('a status of before the first upgrade is right later, too; another one is not', async t => {
  const { tally } = setUp()
  tally.answered(request, 404, 0)
  tally.answered(request, 200, 0)
  tally.learned()
  tally.around(1)
  tally.answered(request, 404, 0)
  tally.answered(request, 401, 0)
  tally.around(undefined)
  tally.answered(request, 401, 0)
  t.match(tally.total(), { answers: 3, failures: 2 })
  t.match(tally.groups, [
    {
      kind: 'status',
      what: 'GET /',
      status: 401,
      expected: [404, 200],
      count: 2,
      calm: 1,
      upgrades: new Set([1])
    }
  ])
})

t.test('where nothing was answered before the first upgrade, the first status counts', async t => {
  const { tally } = setUp()
  tally.learned()
  tally.answered(request, 500, 0)
  tally.answered(request, 200, 0)
  tally.answered(request, 401, 0)
  t.match(tally.groups, [{ kind: '5xx' }, { kind: 'status', status: 401, expected: [200] }])
})

t.test('5xx is a failure from the beginning on, and so is what was not expected', async t => {
  const { tally } = setUp()
  tally.answered(request, 500, 0)
  tally.answered(strict, 200, 0)
  tally.answered(strict, 204, 0)
  t.match(tally.total(), { answers: 1, failures: 2 })
  t.match(tally.groups, [{ kind: '5xx' }, { kind: 'status', status: 200, expected: [204] }])
})

t.test('what comes belongs to the upgrade that is under way', async t => {
  const { tally, clock } = setUp()
  clock.now = 300
  tally.answered(request, 200, 298)
  tally.around(2)
  tally.answered(request, 200, 295)
  tally.failed('GET /', new RequestFailure('reset', 'gone'), 100)
  tally.lost('WebSocket /', new RequestFailure('eof', 'gone'), 0)
  tally.reconnect(7)
  tally.reconnect(7)
  tally.around(undefined)
  tally.reconnect(8)
  const share = tally.upgrades.get(2)!
  t.match(share, { answers: 1, failures: 1, losses: 1, reconnects: 2 })
  t.match(tally.calm, { answers: 1, failures: 0, reconnects: 1 })
  t.equal(tally.reconnected(), 2, 'clients')
  t.equal(tally.groups[0]?.longest, 200)
  t.equal(Math.round(latenciesOf([share])!.longest), 5)
  t.equal(latenciesOf([share, tally.calm])?.answers, 2)
  t.match(timelineOf(tally.steps), {
    step: 250,
    answers: [0, 2],
    failures: [0, 2],
    p50: [null, 2],
    longest: [null, 5]
  })
})

t.test('of no answer there are no latencies', async t =>
  t.equal(latenciesOf([setUp().tally.calm]), undefined)
)
