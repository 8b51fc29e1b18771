/** What an instance asks itself by, of a real one. */
import { Readable } from 'node:stream'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { CheckRequest } from '../../../lib/check.js'
import { runCheck } from '../../../lib/process/check.js'

function play(t: Test) {
  const app = Fastify()
  t.teardown(() => app.close())
  app.get('/health', async () => 'fine')
  app.get('/created', async (_request, reply) => reply.code(201).send({}))
  app.get('/moved', async (_request, reply) => reply.redirect('/health'))
  app.get('/down', async (_request, reply) => reply.code(503).send('{"database":"down"}\nsince noon\n'))
  app.get('/throws', async () => {
    throw new Error('no database')
  })
  app.post('/echo', async ({ body, headers }) => ({ body, token: headers.token }))
  const ask = (check: string | CheckRequest | (string | CheckRequest)[], checkTimeout = 20_000) =>
    runCheck(app, { check, checkTimeout })
  return { app, ask }
}

t.test('any status from 200 to 299 passes, and no other', async t => {
  const { ask, app } = play(t)
  t.equal(await ask('/health'), undefined)
  t.equal(await ask('/created'), undefined)
  t.same(await ask('/moved'), { request: 'GET /moved', outcome: 'answered 302', body: '' })
  t.match(await ask('/nowhere'), { outcome: 'answered 404', body: /Route GET:\/nowhere not found/ })
  t.match(await ask('/throws'), { outcome: 'answered 500', body: /no database/ })
  t.equal(await runCheck(app, { check: false, checkTimeout: 1 }), undefined, 'none is no failure')
})

t.test('the first lines of the answer are told, without what a terminal obeys', async t => {
  const { app, ask } = play(t)
  const lines = Array.from({ length: 9 }, (_, index) => `line ${index}`).join('\r\n')
  app.get('/long', async (_request, reply) => reply.code(500).send(`\x1b[2J\x07\u202e${lines}`))
  app.get('/wide', async (_request, reply) => reply.code(500).send('x'.repeat(10_000)))
  t.same(await ask('/down'), {
    request: 'GET /down',
    outcome: 'answered 503',
    body: '{"database":"down"}\nsince noon'
  })
  t.equal((await ask('/long'))?.body, 'line 0\nline 1\nline 2\nline 3\nline 4')
  t.equal((await ask('/wide'))?.body.length, 500)
})

t.test('another status may be expected', async t => {
  const { ask } = play(t)
  t.equal(await ask({ url: '/moved', statusCode: 302 }), undefined)
  t.match(await ask({ url: '/health', statusCode: 204 }), {
    outcome: 'answered 200 instead of 204',
    body: 'fine'
  })
})

t.test('it asks as it is told, and one after the other until one fails', async t => {
  const { ask, app } = play(t)
  app.post('/token', async ({ headers, body }, reply) =>
    reply.code(headers.token === 'a' && body ? 200 : 401).send()
  )
  const post = { url: '/token', method: 'post', headers: { token: 'a' }, payload: { name: 'b' } }
  t.equal(await ask(['/health', post]), undefined)
  const asked: string[] = []
  const check = ['/health', { ...post, headers: {} }, '/down']
  t.match(await runCheck(app, { check, checkTimeout: 20_000 }, request => asked.push(request)), {
    request: 'POST /token',
    outcome: 'answered 401'
  })
  t.same(asked, ['GET /health', 'POST /token'])
})

t.test('an answer that is not whole in time does not count, and the request is given up', async t => {
  const { ask, app } = play(t)
  const alive = setInterval(() => {}, 1_000) // as a server that listens
  t.teardown(() => clearInterval(alive))
  const late = { outcome: 'was not answered within checkTimeout (50 ms)', body: '' }
  let givenUp: Promise<unknown> | undefined
  app.get('/hangs', request => {
    givenUp = new Promise(resolve => request.raw.once('close', resolve))
    return new Promise(() => {})
  })
  app.get('/endless', (_request, reply) => {
    const stream = new Readable({ read() {} })
    stream.push('so far')
    return reply.send(stream)
  })
  app.get('/blocks', async () => {
    const end = performance.now() + 100
    while (performance.now() < end);
    return 'fine'
  })
  app.get('/later', async () => new Promise(resolve => setTimeout(resolve, 100, 'fine')))
  t.match(await ask('/hangs', 50), { request: 'GET /hangs', ...late })
  await givenUp
  t.match(await ask('/endless', 50), late)
  t.match(await ask('/blocks', 50), late, 'also where no timer could come before')
  t.match(await ask('/later', 50), late)
  t.equal(await ask('/later'), undefined)
})

t.test('what can not be asked is a failure, and nothing is thrown', async t => {
  const { ask, app } = play(t)
  app.get('/breaks', (_request, reply) => {
    reply.hijack()
    reply.raw.destroy(new Error('broken off'))
  })
  app.addHook('onRequest', async ({ url }) => {
    if (url === '/health') throw new Error('not from here')
  })
  t.match(await ask('/breaks'), { request: 'GET /breaks', outcome: 'failed: broken off', body: '' })
  t.match(await ask('/health'), { outcome: 'answered 500', body: /not from here/ })
  t.match(await ask({ url: '/down', method: 'no such' }), {
    request: 'NO SUCH /down',
    outcome: /^(failed|answered 4)/
  })
  await app.close()
  t.match(await ask('/down'), { request: 'GET /down', outcome: /./ })
})
