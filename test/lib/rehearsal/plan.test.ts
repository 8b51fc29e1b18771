import t from 'tap'
import { planOf } from '../../../lib/rehearsal/plan.js'

const usage = (message: RegExp) => ({ code: 'GRACEFUL_UPGRADE_USAGE', message })

t.test('without options it is what the help says', async t => {
  t.match(planOf([]), {
    clients: 50,
    pause: [0, 100],
    time: 20_000,
    every: 3_000,
    fresh: 0,
    requests: [{ name: 'GET /' }],
    latency: 1,
    timeout: 10_000,
    compare: [],
    maxFailures: 0,
    json: false
  })
  t.same([planOf([]).maxP999, planOf([]).html], [undefined, undefined])
})

t.test('the last one of those that can be given once counts, of the others all do', async t => {
  const plan = planOf([
    ['--clients', '1'],
    ['--clients', '2'],
    ['--websocket', '/a'],
    ['--websocket', '/b'],
    ['--compare', 'restart'],
    ['--compare', 'close,restart'],
    ['--json', '']
  ])
  t.match(plan, { clients: 2, webSockets: ['/a', '/b'], compare: ['restart', 'close'], json: true })
})

for (const [text, pause] of Object.entries({
  '0-100ms': [0, 100],
  '1s-2s': [1_000, 2_000],
  '100ms-1s': [100, 1_000],
  '1-2s': [1_000, 2_000],
  '50': [50, 50],
  '0.5ms': [0.5, 0.5]
}))
  t.test(`a pause of ${text}`, async t => t.same(planOf([['--pause', text]]).pause, pause))

t.test('what each request is expected to be answered with wins over what all are', async t => {
  const request = JSON.stringify({ path: '/old', expect: 410 })
  const { requests } = planOf([
    ['--expect', '204'],
    ['--request', request],
    ['--request', '/']
  ])
  t.same(
    requests.map(({ expect }) => expect),
    [410, 204]
  )
})

for (const [name, value, message] of [
  ['--for', 'long', /--for must be a time as 100ms, 20s or 2m, but is long/],
  ['--for', '4s', /one and a half times as long as --every/],
  ['--every', '10ms', /at least 100ms/],
  ['--pause', '5-1ms', /from less to more/],
  ['--clients', '-1', /--clients must be a whole number, but is -1/],
  ['--clients', '0', /--clients 0 needs/],
  ['--websocket', 'chat', /path that begins with \//],
  ['--expect', '99', /--expect must be a status/],
  ['--compare', 'nginx', /restart, close or both/],
  ['--max-p999', '5 ms', /--max-p999 must be a time/]
] as const)
  t.test(`${name} ${value} is refused`, async t => t.throws(() => planOf([[name, value]]), usage(message)))
