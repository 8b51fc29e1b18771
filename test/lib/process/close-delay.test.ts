import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { connectionsOf } from '../../../lib/connections/connections.js'
import { createCloseDelay } from '../../../lib/process/close-delay.js'
import { Client } from '../../helper/http-client.ts'

/** @returns a client: what a request of it is told, on a connection that stays open if it may */
async function serve(t: Test) {
  const server = http.createServer((_request, response) => response.end('fine'))
  connectionsOf(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const connect = () => {
    const client = new Client({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
    t.teardown(() => client.close())
    return async () => (await client.get('/')).headers.connection
  }
  return { server, connect }
}

t.test('responses say until it is over that their connections end, and not any more afterwards', async t => {
  const { server, connect } = await serve(t)
  const [early, late] = [connect(), connect()]
  const delay = createCloseDelay(() => [server])
  for (const told of [early, late]) t.equal(await told(), 'keep-alive')
  t.notOk(delay.isUnderWay)
  const over = delay.begin(600_000)
  t.ok(delay.isUnderWay)
  t.equal(await early(), 'close')
  const told = late()
  await new Promise(process.nextTick) // it is on its way
  t.ok(delay.skip())
  t.notOk(delay.skip())
  let isOver = false
  void over.then(() => {
    isOver = true
  })
  for (; !isOver; await turn()) t.ok(delay.isUnderWay, 'for what has come in by now')
  t.equal(await told, 'close')
  t.notOk(delay.isUnderWay)
  t.equal(await early(), 'keep-alive')
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
