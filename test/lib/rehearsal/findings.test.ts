import t from 'tap'
import type { Change } from '../../../lib/rehearsal/change.js'
import { type Facts, findingsOf } from '../../../lib/rehearsal/findings.js'
import type { ChangeReport, GroupReport } from '../../../lib/rehearsal/report.js'
import { isPassed } from '../../../lib/rehearsal/verdict.js'
import { noReport } from '../../helper/play/process.ts'
import { rehearsed } from '../../helper/rehearsal.ts'

const change = (some: Partial<Change> = {}): ChangeReport => ({
  ...{ number: 1, at: 3_000, boot: 400, drain: 20, answers: 9, failures: 0, reconnects: 0 },
  ...some
})

const group = (some: Partial<GroupReport>): GroupReport => ({
  ...{ kind: 'reset', what: 'GET /', message: 'gone', count: 3, calm: 0, upgrades: [1], longest: 2 },
  ...some
})

function texts(some: Partial<Facts>, complaints: string[] = []) {
  return findingsOf({ ...rehearsed, ...some }, complaints, []).map(({ level, text }) => `${level}: ${text}`)
}

t.test('where nothing has happened there is nothing to be said', async t => t.same(texts({}), []))

for (const [name, facts, expected] of [
  [
    'a version that does not come up, with what it said',
    {
      changes: [
        change({
          failure: {
            code: 'GRACEFUL_UPGRADE_EXITED',
            message: 'it ended',
            lastWords: 'node:net\n    throw err\nError: listen EADDRINUSE :::9\n    at x\n  code: 2'
          }
        })
      ]
    },
    /^fault: Upgrade 1 failed.*It said: Error: listen EADDRINUSE :::9\. While both versions run/
  ],
  [
    'a version that is not ready in time',
    { changes: [change({ failure: { code: 'GRACEFUL_UPGRADE_READY_TIMEOUT', message: 'late' } })] },
    /^fault: Upgrade 1 failed.*what it waits for before it listens/
  ],
  [
    'what a drain has cut, and the requests that hung',
    {
      changes: [
        change({
          report: {
            ...noReport,
            kinds: { http1: { moved: 0, finished: 0, told: 0, cut: 2 } },
            cutOff: [
              { kind: 'request', method: 'GET', url: '/hang', ms: 1_500 },
              { kind: 'webSocket', url: '/chat', ms: 9 },
              { kind: 'other', ms: 9 }
            ]
          }
        })
      ],
      groups: [
        group({ kind: 'eof', what: 'GET /hang', longest: 1_500 }),
        group({ kind: 'timeout', what: 'GET /hang' })
      ]
    },
    /^fault: After upgrade 1 .* cut 2 HTTP\/1\.1 requests \(GET \/hang, WebSocket \/chat\)\. What hung: GET \/hang \(6 times, for up to 1\.5 s\)/
  ],
  [
    'an old version that never ends',
    { changes: [{ number: 1, at: 1, boot: 2, answers: 0, failures: 0, reconnects: 0 }] },
    /^fault: After upgrade 1 the old version had not ended/
  ],
  [
    'requests that hung by themselves',
    { groups: [group({ kind: 'timeout' })] },
    /^fault: Requests were not answered/
  ],
  [
    'a race',
    { groups: [group({})] },
    /^failure: GET \/: 3 requests lost, around upgrade 1\. The server closed/
  ],
  [
    'a race over HTTP/2',
    { groups: [group({})], target: 'HTTP/2 over TLS on x' },
    /^failure: GET \/: 3 requests lost, .* with GOAWAY/
  ],
  [
    'nobody who listens',
    { groups: [group({ kind: 'refused', upgrades: [1, 2], calm: 1 })] },
    /refused 3 times, around upgrades 1, 2 and after/
  ],
  [
    'a cut answer',
    { groups: [group({ kind: 'cut body', calm: 3, upgrades: [] })] },
    /3 answers cut in the middle, in calm times, not around any upgrade/
  ],
  [
    'a session that is gone',
    { groups: [group({ kind: 'status', status: 401, expected: [200] })] },
    /answered with 401 instead of 200 3 times.*keeps in memory/
  ],
  ['an error', { groups: [group({ kind: '5xx', status: 503 })] }, /answered with 503/],
  [
    'a WebSocket that is not told',
    { groups: [group({ kind: 'eof', what: 'WebSocket /x', longest: 9_000 })] },
    /^failure: WebSocket \/x: ended without a word.*keep\(\)/
  ],
  [
    'one that does not open',
    { groups: [group({ kind: 'handshake', what: 'WebSocket /x' })] },
    /could not be opened/
  ],
  ['anything else', { groups: [group({ kind: 'other' })] }, /failed 3 times, around upgrade 1: gone/],
  [
    'events that never came',
    {
      stays: [
        {
          name: 'events /feed',
          clients: 10,
          opened: 20,
          closed: { end: 3 },
          received: 9,
          missed: 2,
          doubled: 0
        }
      ]
    },
    /^fault: events \/feed: 2 events missed/
  ],
  ['a slow boot', { changes: [change({ boot: 4_000 })] }, /^note: The new version takes up to 4\.0 s/],
  ['clients that had to reconnect', { reconnected: 2 }, /^note: 2 clients had to reconnect.*--handover all/],
  [
    'the same over TLS',
    { reconnected: 2, target: 'HTTP/2 over TLS on x' },
    /TLS and HTTP\/2 that Node\.js itself speaks/
  ],
  [
    'clients that were late themselves',
    { clientDelay: { p99: 30, longest: 80 } },
    /^note: The clients themselves were late, by up to 80 ms/
  ],
  [
    'an end in the middle',
    { death: { how: 'SIGSEGV', lastWords: '' } },
    /^fault: The application ended in the middle of the rehearsal: SIGSEGV\./
  ]
] as const)
  t.test(`it names ${name}`, async t => t.match(texts(facts as Partial<Facts>)[0], expected))

t.test('an old version that ends badly is named with what its log says', async t => {
  const [text] = texts({ changes: [change({ badEnd: 'exit code 1' })] }, ['closing failed: the pool'])
  t.match(text, /^fault: After upgrade 1 .*\(exit code 1\).*Its log: closing failed: the pool\./)
})

t.test('what is compared is not told what to do better', async t =>
  t.same(texts({ mode: 'restart', reconnected: 50, changes: [change({ boot: 9_000 })] }), [])
)

t.test('it has passed if no request failed, or no more than is forgiven, and nothing else did', async t => {
  const limits = { maxFailures: 0, maxP999: undefined }
  t.ok(isPassed({ ...rehearsed, findings: [{ level: 'note', text: '' }] }, limits))
  t.notOk(isPassed({ ...rehearsed, failures: 1 }, limits))
  t.notOk(isPassed({ ...rehearsed, losses: 1 }, limits))
  t.ok(
    isPassed(
      { ...rehearsed, failures: 1, losses: 1, findings: [{ level: 'failure', text: '' }] },
      { ...limits, maxFailures: 2 }
    )
  )
  t.notOk(isPassed({ ...rehearsed, findings: [{ level: 'fault', text: '' }] }, { ...limits, maxFailures: 2 }))
  t.ok(isPassed(rehearsed, { ...limits, maxP999: 12 }))
  t.notOk(isPassed(rehearsed, { ...limits, maxP999: 11 }))
})
