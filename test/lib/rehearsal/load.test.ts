/** Clients at work on a real server of the test. */
import { once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import * as undici from 'undici'
import { startLoad, tryRequests } from '../../../lib/rehearsal/load.js'
import { type GivenOptions, planOf } from '../../../lib/rehearsal/plan.js'
import { createTally } from '../../../lib/rehearsal/tally.js'

async function setUp(t: Test, listener: RequestListener, options: GivenOptions = []) {
  let connections = 0
  const server = createServer(listener).on('connection', () => connections++)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const { port } = server.address() as AddressInfo
  const target = { origin: `http://127.0.0.1:${port}`, protocol: 'http/1.1', bound: '' } as const
  const plan = planOf([['--pause', '1ms'], ['--clients', '3'], ...options])
  const tally = createTally()
  return {
    tally,
    connections: () => connections,
    start: () => startLoad(undici, target, plan, tally),
    tries: () => tryRequests(undici, target, plan)
  }
}

t.test('each client has one connection, and a fresh one as many as it asks', async t => {
  const { start, tally, connections } = await setUp(t, (_request, response) => response.end('hello'))
  const load = start()
  while (tally.total().answers < 30) await sleep(1)
  await load.stop()
  t.equal(connections(), 3)
  const fresh = await setUp(t, (_request, response) => response.end('hello'), [['--fresh', '1']])
  const more = fresh.start()
  while (fresh.connections() < 8) await sleep(1)
  await more.stop()
  for (const { failures, reconnects } of [tally.total(), fresh.tally.total()])
    t.same([failures, reconnects], [0, 0])
})

t.test('what is under way in the end is waited for', async t => {
  const waiting: ServerResponse[] = []
  const { start, tally } = await setUp(t, (_request, response) => void waiting.push(response))
  const load = start()
  while (waiting.length < 3) await sleep(1)
  const stopped = load.stop()
  for (const response of waiting) response.end()
  await stopped
  t.match(tally.total(), { answers: 3, failures: 0 })
})

t.test('a request that fails already is no load, but a slow one is', async t => {
  const broken = await setUp(t, (_request, response) => response.writeHead(503).end())
  await t.rejects(broken.tries(), {
    code: 'GRACEFUL_UPGRADE_REHEARSAL',
    message: /GET \/ fails before any upgrade: it is answered with 503/
  })
  const expected = await setUp(t, (_request, response) => response.writeHead(503).end(), [
    ['--expect', '503']
  ])
  await expected.tries()
  const slow = await setUp(t, () => {})
  await slow.tries()
  const nobody = await setUp(t, request => request.socket.destroy(), [
    ['--clients', '0'],
    ['--events', '/']
  ])
  await nobody.tries()
  t.equal(nobody.connections(), 0, 'it is no load where there are no clients')
})
