import type { OutgoingHttpHeaders, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { announceClose } from '../../../lib/drain/http1.js'
import { type Followed, followHttp, request, until } from '../../helper/accepted.ts'

function announce(t: Test, { server, list }: Followed, wants: (socket: Socket) => boolean = () => true) {
  const ended: Socket[] = []
  const told: Socket[] = []
  const announcement = announceClose(new Map([[server, list]]), {
    wants,
    onResponseEnd: socket => void ended.push(socket),
    onTold: socket => void told.push(socket)
  })
  t.teardown(announcement.stop)
  return { ...announcement, ended, told }
}

const responders: Record<string, RequestListener> = {
  'no head of its own': (_request, response) => response.end('hello'),
  'an object': (_request, response) =>
    response.writeHead(200, { connection: 'keep-alive', a: 'b' }).end('hello'),
  'a reason and an object': (_request, response) => response.writeHead(200, 'Fine', { a: 'b' }).end('hello'),
  'a flat list': (_request, response) =>
    response
      .writeHead(200, ['Connection', 'keep-alive', 'a', 'b'] as unknown as OutgoingHttpHeaders)
      .end('hello'),
  'a list of pairs': (_request, response) =>
    response
      .writeHead(200, [
        ['connection', 'keep-alive'],
        ['a', 'b']
      ] as unknown as OutgoingHttpHeaders)
      .end('hello')
}

for (const [form, respond] of Object.entries(responders)) {
  t.test(`with ${form} a response carries Connection: close, and no other word on it`, async t => {
    const served = await followHttp(t, respond)
    const { ended } = announce(t, served)
    const { get, socket } = await served.connect()
    const response = await get()
    t.same(response.match(/^connection: .*$/gim), ['Connection: close'])
    if (form !== 'no head of its own') t.match(response, /^a: b\r$/m)
    t.same(ended, [socket])
  })
}

t.test('a response that is under way carries it, if it is wanted by the time of its head', async t => {
  const responses: ServerResponse[] = []
  const served = await followHttp(t, (_request, response) => void responses.push(response))
  const all = [await served.connect(), await served.connect()]
  for (const { client } of all) client.write(request())
  await until(() => responses.length === 2)
  const wanted = new Set(all.map(({ socket }) => socket))
  const { told } = announce(t, served, socket => wanted.has(socket))
  wanted.delete(all[1]!.socket)
  const said = all.map(each => each.said())
  for (const response of responses) response.end()
  const [one, other] = await Promise.all(said)
  t.match(one, /Connection: close/)
  t.match(other, /Connection: keep-alive/)
  t.same(told, [all[0]!.socket])
})

t.test('where it is not wanted the response is not touched; renew() asks again', async t => {
  let response: ServerResponse | undefined
  const served = await followHttp(t, (_request, given) => {
    response = given
  })
  let isWanted = false
  const { renew } = announce(t, served, () => isWanted)
  const { client, said } = await served.connect()
  client.write(request())
  await until(() => response !== undefined)
  t.notOk(Object.hasOwn(response!, 'writeHead'))
  isWanted = true
  renew()
  t.ok(Object.hasOwn(response!, 'writeHead'))
  const answer = said()
  response!.end()
  t.match(await answer, /Connection: close/)
})

t.test('of pipelined requests the last answer alone carries it', async t => {
  const responses: ServerResponse[] = []
  const served = await followHttp(t, (_request, response) => void responses.push(response))
  const { client } = await served.connect()
  const { told } = announce(t, served)
  client.write(request() + request())
  await until(() => responses.length === 2)
  let all = ''
  client.on('data', chunk => {
    all += chunk
  })
  const closed = new Promise(resolve => client.once('close', resolve))
  for (const response of responses) response.end('hello')
  await closed
  t.same(all.match(/^connection: .*$/gim), ['Connection: keep-alive', 'Connection: close'])
  t.equal(told.length, 1)
})

t.test('servers that are not drained are left alone, and all are when it stops', async t => {
  const [drained, other] = [await followHttp(t), await followHttp(t)]
  const { stop, ended } = announce(t, drained)
  t.match(await (await other.connect()).get(), /Connection: keep-alive/)
  stop()
  t.match(await (await drained.connect()).get(), /Connection: keep-alive/)
  t.same(ended, [])
})
