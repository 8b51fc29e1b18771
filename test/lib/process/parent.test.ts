/** A worker's side of its master, which the test plays. */
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { OfferAnswer, Relay } from '../../../lib/handover/offer.js'
import type { TicketKeys } from '../../../lib/handover/session-tickets.js'
import type { Listener } from '../../../lib/listeners/listeners.js'
import { connectParent } from '../../../lib/process/parent.js'
import { PlayedEnd, PlayedHandle } from '../../helper/played-end.ts'

const address = { key: 'tcp::3000', bound: '0.0.0.0:3000' }
const listener = { ...address, server: {} } as unknown as Listener
const offer = { listener: address, idleTime: 4_000 }
const report = { refused: 0, longestPause: 3, kinds: {} }
const heldUp = [{ kind: 'request', method: 'GET', url: '/slow', ms: 5 }] as const
const terms = { time: 30_000, share: 0.1, errorRate: false } as const
const counts = { fresh: 0, idle: 1, active: 2, detached: 3 }
const keys: TicketKeys[] = [{ listener: address, keys: null, sessionIdContext: '', clients: null }]

function setUp(take: Relay = () => Promise.reject(new Error('nobody may offer'))) {
  const master = new PlayedEnd()
  const parent = connectParent(
    take,
    {
      count: () => counts,
      heldUpBy: () => heldUp,
      reveal: () => keys,
      tally: () => ({ responses: 5, errors: 1 })
    },
    master
  )
  const heard: unknown[][] = []
  for (const event of [
    'ticketKeys',
    'serve',
    'probe',
    'beside',
    'upgrading',
    'retire',
    'close',
    'lost'
  ] as const) {
    parent.on(event, (...words: unknown[]) => void heard.push([event, ...words]))
  }
  return {
    master,
    parent,
    heard,
    settled: (promise: Promise<unknown>) => Promise.race([promise, turn('not yet')])
  }
}

t.test('what the master decides comes in its order, and what is not for this process does not', async t => {
  const { master, heard } = setUp()
  master.say({ type: 'ticketKeys', ticketKeys: keys })
  master.say({ type: 'serve' })
  master.say({ type: 'of a later version' })
  master.say({ type: 'upgrading' })
  master.sayRaw({ type: 'retire' })
  master.say({ type: 'upgrading', value: true })
  master.say({ type: 'close', signal: 'SIGTERM' })
  master.say({ type: 'close', signal: null })
  master.say({ type: 'probe' })
  master.say({ type: 'beside', share: 0.1 })
  master.say({ type: 'beside', share: 'all' })
  master.say({ type: 'beside', share: null })
  master.say({ type: 'retire' })
  t.same(heard, [
    ['ticketKeys', keys],
    ['serve', undefined],
    ['upgrading', true],
    ['close', 'SIGTERM'],
    ['close', null],
    ['probe'],
    ['beside', 0.1],
    ['beside', null],
    ['retire', false]
  ])
  t.same(master.said, [])
})

t.test('the master is told what it holds, and that this generation is ready, or dies', async t => {
  const { master, parent } = setUp()
  const handle = new PlayedHandle(11)
  parent.publish(listener, handle, { endTimeout: 5_000, closeDelay: 7 })
  parent.withdraw(listener)
  const failure = { request: 'GET /health', outcome: 'answered 503', body: 'down' }
  void parent.asks('GET /health')
  parent.unchecked(failure)
  parent.ready(['unix:app.sock'], ['tcp::3000'], { endTimeout: 5_000, closeDelay: 7 }, terms)
  parent.dying()
  parent.leaving()
  parent.draining()
  t.same(master.said, [
    { type: 'listener', listener: address, endTimeout: 5_000, closeDelay: 7 },
    { type: 'unlisten', key: 'tcp::3000' },
    { type: 'asks', request: 'GET /health' },
    { type: 'unchecked', failure },
    {
      type: 'ready',
      unclaimed: ['unix:app.sock'],
      published: ['tcp::3000'],
      endTimeout: 5_000,
      closeDelay: 7,
      probation: terms,
      logs: true
    },
    { type: 'dying' },
    { type: 'leaving' },
    { type: 'draining' }
  ])
  t.same(master.handles, [handle])
})

t.test('what is asked has left before it is asked, or nobody is there', async t => {
  const { master, parent, settled } = setUp()
  master.standStill()
  const left = parent.asks('GET /health')
  t.equal(await settled(left), 'not yet', 'behind a socket that the master has not taken')
  master.goOn()
  t.equal(await left, undefined)
  master.standStill()
  const never = parent.asks('GET /health')
  master.hangUp()
  t.equal(await never, undefined)
})

t.test('it is answered when it asks', async t => {
  const { master } = setUp()
  master.say({ type: 'count', id: 3 })
  master.say({ type: 'reveal', id: 4 })
  t.same(master.said, [
    { type: 'counted', id: 3, connections: counts },
    { type: 'revealed', id: 4, ticketKeys: keys }
  ])
})

t.test('a share of its connections is asked for, and the answer comes when it is known', async t => {
  const { master, parent } = setUp()
  const asked: object[] = []
  let answer: (shared: { wanted: number; gone: number }) => void = () => {}
  parent.on('share', (request, given) => {
    asked.push(request)
    answer = given
  })
  master.say({ type: 'share', id: 8, share: 0.2, how: 'both' })
  master.say({ type: 'share', id: 9, share: 0.2, how: 'move' })
  t.same(asked, [{ share: 0.2, how: 'move' }])
  t.same(master.said, [])
  answer({ wanted: 4, gone: 3 })
  t.same(master.said, [{ type: 'shared', id: 9, shared: { wanted: 4, gone: 3 } }])
})

t.test('an upgrade resolves with what serves now, or rejects as the master says', async t => {
  const { master, parent } = setUp()
  const asked = Array.from({ length: 3 }, () => parent.upgrade())
  const [one, two, three] = master.saidOf('upgrade').map(({ id }) => id)
  const result = { generation: 3, pid: 7, ms: 120 }
  const refusal = { type: 'refused', message: 'it ended', lastWords: 'SyntaxError' }
  master.say({ ...refusal, id: two, code: 'GRACEFUL_UPGRADE_EXITED' })
  master.say({ ...refusal, id: three, code: 'OF_A_LATER_VERSION' })
  master.say({ type: 'upgraded', id: one, result })
  master.say({ type: 'upgraded', id: 99, result })
  t.same(await asked[0], result)
  await t.rejects(asked[1]!, {
    code: 'GRACEFUL_UPGRADE_EXITED',
    message: 'it ended',
    lastWords: 'SyntaxError'
  })
  await t.rejects(asked[2]!, { code: 'GRACEFUL_UPGRADE_MASTER_LOST', message: 'it ended' })
})

t.test(
  'when the master is lost all that waits is settled, once, and nothing more is heard of it',
  async t => {
    const { master, parent, heard } = setUp()
    const upgrade = parent.upgrade()
    const taken = parent.offer(offer, new PlayedHandle(21))
    await turn()
    master.standStill()
    const notTaken = parent.offer(offer, new PlayedHandle(22))
    t.ok(parent.isConnected())
    master.hangUp()
    await t.rejects(upgrade, { code: 'GRACEFUL_UPGRADE_MASTER_LOST' })
    t.equal(await taken, 'lost', 'it may have given it on')
    t.equal(await notTaken, 'unavailable', 'it can not')
    t.notOk(parent.isConnected())
    t.same(heard, [['lost']])
    master.say({ type: 'retire' })
    t.same(heard, [['lost']])
    const before = master.said.length
    parent.withdraw(listener)
    t.equal(await parent.offer(offer, new PlayedHandle(23)), 'unavailable')
    t.equal(master.said.length, before, 'and nothing is said to it')
  }
)

t.test('a process whose master was gone before it asked is told so too, when it listens', async t => {
  const master = new PlayedEnd()
  master.connected = false
  const parent = connectParent(
    async () => 'refused',
    {
      count: () => counts,
      heldUpBy: () => heldUp,
      reveal: () => [],
      tally: () => ({ responses: 0, errors: 0 })
    },
    master
  )
  await once(parent, 'lost')
  t.notOk(parent.isConnected())
})

t.test('a connection that the master offers is taken, and the master told what became of it', async t => {
  let settle: (answer: OfferAnswer) => void = () => {}
  const taken: unknown[] = []
  const { master } = setUp((...given) => {
    taken.push(...given)
    return new Promise(resolve => {
      settle = resolve
    })
  })
  const handle = new PlayedHandle(21)
  master.say({ type: 'offer', id: 9, offer }, handle)
  master.say({ type: 'offered', id: 9 })
  master.say({ type: 'offered', id: 10 })
  await turn()
  t.same(taken, [offer, handle])
  t.same(master.said, [{ type: 'answer', id: 10, answer: 'refused' }], 'the system has dropped the other one')
  settle('adopted')
  await turn()
  t.same(master.said.slice(1), [{ type: 'answer', id: 9, answer: 'adopted' }])
  t.ok(handle.isOpen)
})

t.test('a connection that is offered to the master is where that says', async t => {
  const { master, parent } = setUp()
  const handles = [new PlayedHandle(21), new PlayedHandle(22)]
  const answers = handles.map(handle => parent.offer(offer, handle))
  t.same(master.types(), ['offer', 'offered', 'offer', 'offered'])
  t.same(master.handles, handles)
  const [one, two] = master.saidOf('offer').map(({ id }) => id)
  master.say({ type: 'answer', id: two, answer: 'refused' })
  master.say({ type: 'answer', id: one, answer: 'adopted' })
  t.same(await Promise.all(answers), ['adopted', 'refused'])
})

t.test('the channel keeps the process alive when it is told to, and while it tells the report', async t => {
  const { master, parent } = setUp()
  t.notOk(master.isRef, 'a worker whose application has closed everything may end')
  parent.keepAlive(true)
  t.ok(master.isRef)
  parent.keepAlive(false)
  t.notOk(master.isRef)
  const drained = parent.drained(report)
  t.ok(master.isRef)
  await drained
  t.same(master.said, [{ type: 'drained', report }])
})

t.test('the report of a master that takes nothing is told when it is lost', async t => {
  const { master, parent, settled } = setUp()
  master.standStill()
  const drained = parent.drained(report)
  t.equal(await settled(drained), 'not yet')
  master.hangUp()
  await drained
  await parent.drained(report) // nor does anybody wait for one that is lost
  t.equal(master.said.length, 1)
})

t.test('a worker hears of its team, and when it is alone', async t => {
  const { master, heard, parent } = setUp()
  parent.on('alone', () => heard.push(['alone']))
  parent.on('team', ({ workers, heir, pids }) => heard.push(['team', workers, heir, pids]))
  master.say({ type: 'serve', dropped: ['tcp::1'] })
  master.say({ type: 'team', workers: 2, heir: 7, pids: [7, 8] })
  master.say({ type: 'team', workers: 2 })
  master.say({ type: 'alone' })
  t.same(heard, [['serve', ['tcp::1']], ['team', 2, 7, [7, 8]], ['alone']])
})

t.test('an upgrade that is asked for when the master is gone is refused', async t => {
  const { master, parent } = setUp()
  master.hangUp()
  await t.rejects(parent.upgrade(), { code: 'GRACEFUL_UPGRADE_MASTER_LOST' })
})

t.test('what the whole service is doing the master tells, with its code if it can not', async t => {
  const { master, parent } = setUp()
  const asked = [parent.inquire('status'), parent.inquire('metrics')]
  t.match(master.said, [
    { type: 'inquire', about: 'status' },
    { type: 'inquire', about: 'metrics' }
  ])
  master.say({
    type: 'refused',
    id: master.said[1]!.id,
    code: 'GRACEFUL_UPGRADE_CLOSING',
    message: 'it closes'
  })
  master.say({ type: 'informed', id: master.said[0]!.id, answer: { pid: 7 } })
  t.same(await asked[0], { pid: 7 })
  await t.rejects(asked[1]!, { code: 'GRACEFUL_UPGRADE_CLOSING', message: 'it closes' })
})

t.test('an older master, which does not know the question, is not waited for for ever', async t => {
  const { parent } = setUp()
  mock.timers.enable({ apis: ['setTimeout'] })
  syncBuiltinESMExports()
  const asked = parent.inquire('status')
  mock.timers.tick(5_000)
  mock.timers.reset()
  syncBuiltinESMExports()
  await t.rejects(asked, {
    code: 'GRACEFUL_UPGRADE_MASTER_LOST',
    message: /older version .* restart the server once/
  })
})

t.test('it tells what its drain waits for, if it is asked for names', async t => {
  const { master } = setUp()
  master.say({ type: 'count', id: 3 })
  master.say({ type: 'count', id: 4, isNamed: true })
  t.same(master.said, [
    { type: 'counted', id: 3, connections: counts },
    { type: 'counted', id: 4, connections: counts, heldUpBy: heldUp }
  ])
})
