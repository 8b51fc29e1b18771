import t from 'tap'
import type { OfferMessage } from '../../../lib/handover/offer.js'
import type { TicketKeys } from '../../../lib/handover/session-tickets.js'
import { typeOf, wrap } from '../../../lib/protocol/envelope.js'
import { type Inheritance, readInheritance } from '../../../lib/protocol/inheritance.js'
import type { MasterMessage, WorkerMessage } from '../../../lib/protocol/messages.js'
import { readMasterMessage, readWorkerMessage } from '../../../lib/protocol/read-message.js'

const result = { generation: 2, pid: 7, ms: 120 }

const listener = { key: 'tcp::3000', bound: '0.0.0.0:3000' }

const keys = Buffer.alloc(48, 7).toString('base64')
const ticketKeys: TicketKeys[] = [
  { listener, keys, sessionIdContext: 'a'.repeat(32), clients: null },
  { listener, keys: null, sessionIdContext: '', clients: 'digest' }
]
const malformedTicketKeys = [
  undefined,
  null,
  {},
  [null],
  [{ ...ticketKeys[0], listener: 'tcp::3000' }],
  [{ ...ticketKeys[0], keys: undefined }],
  [{ ...ticketKeys[0], keys: Buffer.alloc(32).toString('base64') }],
  [{ ...ticketKeys[0], keys: Buffer.alloc(80).toString('base64') }],
  [{ ...ticketKeys[0], keys: [...Buffer.alloc(48)] }],
  [{ ...ticketKeys[0], sessionIdContext: null }],
  [{ ...ticketKeys[0], sessionIdContext: 'é'.repeat(17) }],
  [{ ...ticketKeys[0], clients: undefined }],
  [ticketKeys[0], { ...ticketKeys[0], clients: 1 }]
]

const workerMessages: WorkerMessage[] = [
  { type: 'listener', listener },
  { type: 'unlisten', key: 'tcp::3000' },
  { type: 'ready', unclaimed: [], endTimeout: 40_000 },
  { type: 'asks', request: 'GET /health' },
  { type: 'unchecked', failure: { request: 'GET /health', outcome: 'answered 503', body: '' } },
  { type: 'dying' },
  { type: 'ready', unclaimed: ['unix:/run/app.sock'], published: ['tcp::3000'], endTimeout: 0 },
  { type: 'upgrade', id: 0 },
  { type: 'counted', id: 0, connections: { fresh: 0, idle: 1, active: 2, detached: 3 } },
  { type: 'revealed', id: 0, ticketKeys },
  { type: 'revealed', id: 0, ticketKeys: [] },
  {
    ...{ type: 'counted', id: 0, connections: { fresh: 0, idle: 1, active: 2, detached: 3 } },
    heldUpBy: [{ kind: 'request', method: 'GET', url: '/', ms: 5 }]
  },
  { type: 'inquire', id: 0, about: 'status' },
  { type: 'inquire', id: 1, about: 'metrics' }
]

const masterMessages: MasterMessage[] = [
  { type: 'serve' },
  { type: 'count', id: 0 },
  { type: 'reveal', id: 0 },
  { type: 'ticketKeys', ticketKeys },
  { type: 'upgrading', value: true },
  { type: 'upgrading', value: false },
  { type: 'retire' },
  { type: 'close', signal: 'SIGTERM' },
  { type: 'close', signal: null },
  {
    type: 'log',
    id: 7,
    level: 'warn',
    fields: { generation: 2, err: { message: 'ended' } },
    text: 'upgrade failed'
  },
  { type: 'upgraded', id: 1, result },
  { type: 'count', id: 1, isNamed: true },
  { type: 'informed', id: 1, answer: { pid: 7 } },
  { type: 'informed', id: 2, answer: '# EOF' },
  { type: 'refused', id: 1, code: 'GRACEFUL_UPGRADE_EXITED', message: 'ended' },
  { type: 'refused', id: 1, code: 'OF_A_LATER_VERSION', message: 'ended', lastWords: 'SyntaxError' }
]

const offerMessages: OfferMessage[] = [
  { type: 'offer', id: 0, offer: { listener, idleTime: 4_000 } },
  { type: 'offer', id: 1, offer: { listener, idleTime: 0 } },
  { type: 'offer', id: 2, offer: { listener, idleTime: null } },
  { type: 'offer', id: 3, offer: { listener, idleTime: null, freshTime: 500 } },
  { type: 'offered', id: 2 },
  { type: 'answer', id: 0, answer: 'adopted' },
  { type: 'answer', id: 1, answer: 'refused' },
  { type: 'answer', id: 2, answer: 'unavailable' },
  { type: 'answer', id: 3, answer: 'lost' }
]

const readers = { readWorkerMessage, readMasterMessage }

t.test("a worker's messages reach its master as they are", async t => {
  for (const message of workerMessages) t.same(readWorkerMessage(overTheWire(wrap(message))), message)
})

t.test("a master's messages reach its worker as they are", async t => {
  for (const message of masterMessages) t.same(readMasterMessage(overTheWire(wrap(message))), message)
})

t.test('fields of a later version do no harm', async t => {
  t.match(readWorkerMessage(wrap({ type: 'upgrade', id: 1, why: 'new' } as WorkerMessage)), { id: 1 })
  t.match(readMasterMessage(wrap({ type: 'serve', soon: true } as MasterMessage)), { type: 'serve' })
})

t.test('what one side says, that side itself does not know', async t => {
  for (const message of workerMessages) t.equal(readMasterMessage(wrap(message)), 'unknown', message.type)
  for (const message of masterMessages) t.equal(readWorkerMessage(wrap(message)), 'unknown', message.type)
})

for (const [name, read] of Object.entries(readers)) {
  t.test(`${name} knows what both sides say of connections`, async t => {
    for (const message of offerMessages) t.same(read(overTheWire(wrap(message))), message)
  })

  t.test(`${name} calls a malformed message of connections unknown`, async t => {
    for (const inner of [
      { type: 'offer', id: 1 },
      { type: 'offer', id: 1, offer: null },
      { type: 'offer', id: 1, offer: { idleTime: 1 } },
      { type: 'offer', id: 1, offer: { listener: { key: 'tcp::3000' }, idleTime: 1 } },
      { type: 'offer', id: 1, offer: { listener } },
      { type: 'offer', id: 1, offer: { listener, idleTime: '1' } },
      { type: 'offer', id: 1, offer: { listener, idleTime: null, freshTime: '1' } },
      { type: 'offer', offer: { listener, idleTime: 1 } },
      { type: 'offered' },
      { type: 'offered', id: '1' },
      { type: 'answer', id: 1 },
      { type: 'answer', answer: 'adopted' },
      { type: 'answer', id: 1, answer: 'perhaps' },
      { type: 'answer', id: 1, answer: null }
    ]) {
      t.equal(read({ gracefulUpgrade: inner }), 'unknown', JSON.stringify(inner))
    }
  })

  t.test(`${name} leaves the application's own messages alone`, async t => {
    for (const message of [
      undefined,
      null,
      0,
      true,
      '',
      'serve',
      '{"gracefulUpgrade":{"type":"serve"}}',
      [],
      {},
      { type: 'serve' },
      { type: 'ready', unclaimed: [], endTimeout: 40_000 },
      { gracefulUpgrade: undefined },
      { gracefulUpgrade: null },
      { gracefulUpgrade: true },
      { gracefulUpgrade: 'upgrade' }
    ]) {
      t.equal(read(message), undefined, JSON.stringify(message))
    }
  })

  t.test(`${name} calls unknown what a later version may know`, async t => {
    for (const inner of [
      { type: 'handshake', id: 1 },
      { type: 'SERVE' },
      { type: null },
      { type: 1 },
      {},
      []
    ]) {
      t.equal(read({ gracefulUpgrade: inner }), 'unknown', JSON.stringify(inner))
    }
  })
}

t.test('a malformed message of a worker is unknown', async t => {
  for (const inner of [
    { type: 'asks' },
    { type: 'unchecked' },
    { type: 'unchecked', failure: { request: 'GET /', outcome: 'failed' } },
    { type: 'unchecked', failure: { request: 'GET /', outcome: 503, body: '' } },
    { type: 'listener' },
    { type: 'listener', listener: null },
    { type: 'listener', listener: 'tcp::3000' },
    { type: 'listener', listener: { key: 'tcp::3000' } },
    { type: 'listener', listener: { bound: '0.0.0.0:3000' } },
    { type: 'listener', listener: { key: 3000, bound: '0.0.0.0:3000' } },
    { type: 'unlisten' },
    { type: 'counted', id: 0 },
    { type: 'counted', id: 0, connections: { fresh: 0, idle: 1, active: 2 } },
    { type: 'counted', id: 0, connections: { fresh: 0, idle: 1, active: 2, detached: 3 }, heldUpBy: [1] },
    { type: 'inquire', about: 'status' },
    { type: 'inquire', id: 1, about: 'environment' },
    { type: 'counted', connections: { fresh: 0, idle: 1, active: 2, detached: 3 } },
    { type: 'revealed', ticketKeys },
    ...malformedTicketKeys.map(ticketKeys => ({ type: 'revealed', id: 0, ticketKeys })),
    { type: 'unlisten', key: 1 },
    { type: 'ready' },
    { type: 'ready', unclaimed: [] },
    { type: 'ready', unclaimed: 'tcp::3000' },
    { type: 'ready', unclaimed: null },
    { type: 'ready', unclaimed: [], published: 'tcp::3000', endTimeout: 0 },
    { type: 'upgrade' },
    { type: 'upgrade', id: '1' },
    { type: 'upgrade', id: null }
  ]) {
    t.equal(readWorkerMessage({ gracefulUpgrade: inner }), 'unknown', JSON.stringify(inner))
  }
})

t.test('a malformed message of a master is unknown', async t => {
  for (const inner of [
    { type: 'upgrading' },
    { type: 'informed', id: 1 },
    { type: 'informed', answer: 'x' },
    { type: 'count' },
    { type: 'reveal' },
    { type: 'reveal', id: '0' },
    ...malformedTicketKeys.map(ticketKeys => ({ type: 'ticketKeys', ticketKeys })),
    { type: 'upgrading', value: 1 },
    { type: 'upgrading', value: 'false' },
    { type: 'log', id: 7, level: 'silent', fields: {}, text: 'no level of ours' },
    { type: 'log', id: 7, level: 'info', fields: null, text: 'upgrade failed' },
    { type: 'log', id: 7, level: 'info', fields: {} },
    { type: 'upgraded', result },
    { type: 'upgraded', id: '1', result },
    { type: 'refused', code: 'GRACEFUL_UPGRADE_EXITED', message: 'ended' },
    { type: 'refused', id: null, code: 'GRACEFUL_UPGRADE_EXITED', message: 'ended' }
  ]) {
    t.equal(readMasterMessage({ gracefulUpgrade: inner }), 'unknown', JSON.stringify(inner))
  }
})

t.test('of any message the type can be told', async t => {
  t.equal(typeOf(wrap({ type: 'dying' })), 'dying')
  for (const message of [undefined, null, 'dying', { type: 'dying' }, { gracefulUpgrade: null }]) {
    t.equal(typeOf(message), undefined)
  }
})

const master = 41
const inheritance: Inheritance = {
  generation: 3,
  listeners: [{ ...listener, fd: 5 }],
  master,
  standardError: 4,
  succeeds: 'worker'
}
const variable = JSON.stringify(inheritance)
const alive = (pid: number) => pid === master
const dead = () => false

t.test('a worker inherits from the master that is its parent', async t => {
  t.same(readInheritance(variable, master, alive), inheritance)
  t.same(readInheritance(variable, master, dead), inheritance, 'which has died this very moment')
})

t.test('a child of a worker inherits nothing while the master lives', async t => {
  t.equal(readInheritance(variable, 42, alive), undefined)
})

t.test('an orphan inherits from its dead master, whoever has adopted it', async t => {
  t.same(readInheritance(variable, 1, dead), inheritance)
})

t.test('a process that was not started by a master inherits nothing', async t => {
  t.equal(readInheritance(undefined, master, alive), undefined)
})

t.test('a variable that is no inheritance is ignored', async t => {
  for (const garbage of ['', '{', 'yes', 'undefined', 'null', variable.slice(0, -1)]) {
    t.equal(readInheritance(garbage, master, alive), undefined, garbage)
  }
})

/** IPC is JSON by default. */
function overTheWire(message: unknown): unknown {
  return JSON.parse(JSON.stringify(message))
}
