import t from 'tap'
import {
  describeHoldUp,
  firstOf,
  type HoldUp,
  isHoldUps,
  nameRequest,
  nameUrl
} from '../../../lib/drain/hold-up.js'

for (const [url, name] of [
  ['/report?token=secret', '/report'],
  ['/report#secret', '/report'],
  ['/report;jsessionid=secret/x?y', '/report'],
  ['http://user:secret@host:80/report?x', '/report'],
  ['http://host', ''],
  ['host:443', 'host:443'],
  ['*', '*'],
  ['/a\u009b31mb\u202ec\r\nd', '/abc d'],
  [`/${'a'.repeat(200)}`, `/${'a'.repeat(98)}…`]
] as const) {
  t.test(`the url ${JSON.stringify(url.slice(0, 40))} is told as ${name.slice(0, 40)}`, async t => {
    t.equal(nameUrl(url), name)
  })
}

t.test('a request is told by what there is of it, and no longer than it may be', async t => {
  t.same(nameRequest({ method: 'GET', url: '/a?b' }, 'id-1'), { method: 'GET', url: '/a', id: 'id-1' })
  t.same(nameRequest({}, undefined), {})
  t.same(nameRequest({ method: 'GET', url: '/' }, ['two', 'ids']), { method: 'GET', url: '/' })
  const { method, id } = nameRequest({ method: 'X'.repeat(99), url: '/' }, `\u001b[31m${'i'.repeat(99)}`)
  t.same([method!.length, id!.length], [20, 64])
  t.match(id, /^i+…$/)
})

const request = (ms: number): HoldUp => ({ kind: 'request', method: 'GET', url: `/${ms}`, ms })

t.test('the oldest requests come first, then what else is open, and no more than five', async t => {
  const other: HoldUp = { kind: 'other', ms: 9 }
  const webSocket: HoldUp = { kind: 'webSocket', url: '/chat', ms: 9 }
  t.same(firstOf([other, request(1), webSocket, request(3)]), [request(3), request(1), webSocket, other])
  t.same(
    firstOf([1, 2, 3, 4, 5, 6].map(request)).map(({ ms }) => ms),
    [6, 5, 4, 3, 2]
  )
})

t.test('each kind has its words', async t => {
  t.equal(describeHoldUp(request(1)), 'GET /1')
  t.equal(describeHoldUp({ kind: 'request', ms: 1 }), 'a request that has not arrived whole')
  t.equal(describeHoldUp({ kind: 'webSocket', url: '/chat', ms: 1 }), 'WebSocket /chat')
  t.equal(describeHoldUp({ kind: 'webSocket', ms: 1 }), 'a WebSocket')
  t.equal(describeHoldUp({ kind: 'other', ms: 1 }), 'another connection')
})

t.test('what another process sends is checked', async t => {
  t.ok(isHoldUps([request(1), { kind: 'other', ms: 0, later: true }]))
  for (const bad of [
    undefined,
    {},
    [null],
    [{ kind: 'x', ms: 1 }],
    [{ kind: 'other' }],
    [{ ...request(1), url: 1 }],
    [request(-1)]
  ])
    t.notOk(isHoldUps(bad), JSON.stringify(bad))
})
