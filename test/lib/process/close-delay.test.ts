import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { connectionsOf } from '../../../lib/connections/connections.js'
import { createCloseDelay } from '../../../lib/process/close-delay.js'
import { Client } from '../../helper/http-client.ts'

/** @returns what a request on a connection that stays open is told of it */
async function serve(t: Test) {
  const server = http.createServer((_request, response) => response.end('fine'))
  connectionsOf(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const client = new Client({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  t.teardown(() => {
    client.close()
    server.close()
  })
  return { server, told: async () => (await client.get('/')).headers.connection }
}

t.test('responses say meanwhile that their connections end, and not any more afterwards', async t => {
  const { server, told } = await serve(t)
  const delay = createCloseDelay(() => [server])
  t.equal(await told(), 'keep-alive')
  t.notOk(delay.isUnderWay)
  const over = delay.begin(600_000)
  t.ok(delay.isUnderWay)
  t.equal(await told(), 'close')
  t.ok(delay.skip())
  await over
  t.notOk(delay.isUnderWay)
  t.equal(await told(), 'keep-alive')
})

t.test('it is over by itself, and begins only once', async t => {
  const delay = createCloseDelay(() => [])
  const over = delay.begin(1)
  t.equal(delay.begin(600_000), over)
  await over
  t.notOk(delay.skip())
  await delay.begin(600_000)
})

t.test('one that is skipped before it begins never does', async t => {
  const delay = createCloseDelay(() => t.fail('nothing is to be told') as never)
  t.notOk(delay.skip())
  await delay.begin(600_000)
  t.notOk(delay.isUnderWay)
})
