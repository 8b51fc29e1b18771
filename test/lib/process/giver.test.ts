/** Connections of a real server in this process; those that it gives go to another one, by way of a child. */
import { channel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import type { Relay } from '../../../lib/handover/offer.js'
import { createGiver } from '../../../lib/process/giver.js'
import { type Followed, followHttp, request, until } from '../../helper/accepted.ts'
import { connectAll, listenersOf, playTaker } from '../../helper/play/taker.ts'

function give(served: Followed, relay: Relay, share: number) {
  return createGiver({ relay, listeners: listenersOf(served), share, random: () => 0 })
}

t.test('of the connections that there are a share goes, open', async t => {
  const served = await followHttp(t)
  const candidate = await playTaker(t, 'candidate')
  const all = await connectAll(served, 20)
  const giver = give(served, candidate.relay, 0.1)
  await until(() => candidate.list.sockets.size === 2)
  await giver.stop()
  const said = await Promise.all(all.map(({ get }) => get()))
  t.equal(said.filter(answer => /candidate$/.test(answer)).length, 2)
  t.ok(candidate.offers.every(({ isShare }) => isShare))
  t.notOk(channel('http.server.response.finish').hasSubscribers)
})

t.test('one that is busy goes behind its response', async t => {
  const served = await followHttp(t, (request, response) => {
    if (request.url === '/later') setImmediate(() => response.end('later'))
    else response.end('hello')
  })
  const candidate = await playTaker(t, 'candidate')
  const [client] = await connectAll(served, 1)
  const later = client!.get('/later')
  await once(served.server, 'request')
  const giver = give(served, candidate.relay, 1)
  t.match(await later, /later$/)
  await until(() => candidate.list.sockets.size === 1)
  t.match(await client!.get(), /candidate$/)
  await giver.stop()
})

t.test('where one ends before it could go another one goes', async t => {
  const served = await followHttp(t)
  const candidate = await playTaker(t, 'candidate')
  const [busy, other] = await connectAll(served, 2)
  busy!.client.write(request('/later'))
  await once(served.server, 'request')
  const giver = give(served, candidate.relay, 0.5)
  await new Promise(setImmediate)
  t.equal(candidate.offers.length, 0)
  busy!.client.destroy()
  await until(() => candidate.list.sockets.size === 1)
  t.match(await other!.get(), /candidate$/)
  const late = [await served.connect(), await served.connect()]
  const said = await Promise.all(late.map(({ get }) => get()))
  t.equal(said.filter(answer => /candidate$/.test(answer)).length, 1, 'and the share stays the same')
  await giver.stop()
})

t.test('of fresh ones the same share goes, before anything was read of them', async t => {
  const served = await followHttp(t)
  const candidate = await playTaker(t, 'candidate')
  const giver = give(served, candidate.relay, 0.25)
  const { port } = served.server.address() as AddressInfo
  const said: string[] = []
  for (let count = 0; count < 12; count++) {
    const client = net.connect(port, '127.0.0.1')
    t.teardown(() => client.destroy())
    client.write(request())
    said.push(String((await once(client, 'data'))[0]))
  }
  t.equal(said.filter(answer => /candidate$/.test(answer)).length, 3)
  t.match(candidate.offers, [{ idleTime: null }, { idleTime: null }, { idleTime: null }])
  await giver.stop()
  const late = await served.connect()
  t.match(await late.get(), /hello$/)
})

t.test('of few the share is rounded, and none is lost if nobody takes them', async t => {
  const served = await followHttp(t)
  const all = await connectAll(served, 5)
  const answers = ['unavailable', 'refused', 'refused', 'refused'] as const
  let asked = 0
  const giver = give(served, async () => answers[asked++]!, 0.1)
  await until(() => asked === 2)
  await giver.stop()
  for (const { get } of all) t.match(await get(), /hello$/)
  t.equal(asked, 2, 'one of five was offered, and again when somebody was there')
})

t.test('who takes nothing, and says nothing, is not waited for without end', async t => {
  const served = await followHttp(t)
  await connectAll(served, 1)
  let isAsked = false
  const relay: Relay = () => {
    isAsked = true
    return new Promise(() => {})
  }
  const giver = give(served, relay, 1)
  await until(() => isAsked)
  await giver.stop()
})
