import { channel } from 'node:diagnostics_channel'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { createBeside, type Judges } from '../../../lib/process/beside.js'
import type { Instance } from '../../../lib/process/instance.js'
import type { CheckFailure } from '../../../lib/protocol/check-failure.js'
import { followHttp } from '../../helper/accepted.ts'
import { playListeners } from '../../helper/play/process.ts'

const isCounting = () => channel('http.server.response.finish').hasSubscribers

function setUp(statusCodes: number[] = []) {
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
  const beside = createBeside(playListeners().listeners, { instances })
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
  t.same(beside.tally(), { responses: 4, errors: 2 })
  t.same(errors, ['erred', 'erred'])
  await beside.over()
  t.equal(beside.role, undefined)
  t.notOk(isCounting())
  await get('/500')
  t.same(beside.tally(), { responses: 4, errors: 2 })
  beside.give(0.1, async () => 'adopted')
  t.equal(beside.role, 'current')
  t.same(beside.tally(), { responses: 0, errors: 0 })
  await get('/500')
  t.same(beside.tally(), { responses: 1, errors: 1 })
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
