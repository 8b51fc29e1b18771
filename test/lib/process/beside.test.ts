import { channel } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Listeners } from '../../../lib/listeners/listeners.js'
import type { ResolvedOptions } from '../../../lib/options/given.js'
import { defaultOptions } from '../../../lib/options.js'
import { createBeside, type Judges } from '../../../lib/process/beside.js'
import type { Instance } from '../../../lib/process/instance.js'
import type { CheckFailure } from '../../../lib/protocol/check-failure.js'
import { followHttp } from '../../helper/accepted.ts'
import { playListeners } from '../../helper/play/process.ts'
import { connectAll, listenersOf, playTaker } from '../../helper/play/taker.ts'

interface Setting extends Pick<ResolvedOptions, 'handover'> {
  readonly listeners: Listeners
}

const isCounting = () => channel('http.server.response.finish').hasSubscribers

function setUp(
  statusCodes: number[] = [],
  { listeners = playListeners().listeners, handover = 'all' }: Partial<Setting> = {}
) {
  const asked: number[] = []
  const app = {
    async inject() {
      const statusCode = statusCodes.shift() ?? 200
      asked.push(statusCode)
      return { statusCode, body: 'down' }
    }
  }
  const options = { check: statusCodes.length === 0 ? false : '/health', checkTimeout: 1_000 }
  const instances = new Set([{ app, options, booted: true } as unknown as Instance])
  const beside = createBeside(listeners, { instances, options: { ...defaultOptions, handover } })
  const errors: string[] = []
  const failures: CheckFailure[] = []
  const judges: Judges = {
    onErred: () => errors.push('erred'),
    onCheckFailure: failure => failures.push(failure)
  }
  return { beside, judges, errors, failures, asked }
}

t.test('answers are counted, and errors told, only while two generations serve', async t => {
  const { beside, judges, errors } = setUp()
  const served = await followHttp(t, (request, response) => {
    response.statusCode = Number(request.url!.slice(1))
    response.end('said')
  })
  const { get } = await served.connect()
  t.notOk(isCounting())
  beside.probe(judges)
  t.equal(beside.role, 'candidate')
  for (const status of [200, 404, 500, 503]) await get(`/${status}`)
  await (await served.connect()).get('/200')
  t.same(beside.tally(), { responses: 5, errors: 2, connections: 2, erring: 1 })
  t.same(errors, ['erred', 'erred'])
  await beside.over()
  t.equal(beside.role, undefined)
  t.notOk(isCounting())
  await get('/500')
  t.match(beside.tally(), { responses: 5, errors: 2 })
  beside.give(0.1, async () => 'adopted')
  t.equal(beside.role, 'current')
  t.match(beside.tally(), { responses: 0, errors: 0 })
  await get('/500')
  t.match(beside.tally(), { responses: 1, errors: 1 })
  t.equal(errors.length, 2, 'those of the one that serves are no news')
  await beside.over()
  t.notOk(isCounting())
})

t.test('the check is asked each second, until it fails, or the probation is over', async t => {
  const failing = setUp([200, 503, 503])
  failing.beside.probe(failing.judges)
  while (failing.failures.length === 0) await sleep(10)
  t.same(failing.failures, [{ request: 'GET /health', outcome: 'answered 503', body: 'down' }])
  t.same(failing.asked, [200, 503])
  await failing.beside.over()
  const over = setUp([503])
  over.beside.probe(over.judges)
  await over.beside.over()
  t.same(over.asked, [])
})

t.test('a share that begins while the one before settles ends with its own probation', async t => {
  const { beside } = setUp()
  const relay = async () => 'adopted' as const
  beside.give(0.1, relay)
  const over = beside.over()
  beside.give(0.1, relay)
  await over
  t.ok(isCounting())
  await beside.over()
  t.notOk(isCounting())
})

t.test('with handover off nothing is given of what is open', async t => {
  const candidate = await playTaker(t, 'candidate')
  for (const handover of [false, 'idle'] as const) {
    const served = await followHttp(t)
    const listeners = { ...playListeners().listeners, ...listenersOf(served) }
    const { beside } = setUp([], { listeners, handover })
    const [client] = await connectAll(served, 1)
    beside.give(1, candidate.relay)
    await client!.get()
    await client!.get()
    t.equal(candidate.offers.length, handover === false ? 0 : 1)
    await beside.over()
  }
})
