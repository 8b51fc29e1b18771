import t from 'tap'
import { startClient } from '../../../lib/rehearsal/client.js'
import type { ClientConnection, Exchange } from '../../../lib/rehearsal/connection.js'
import type { RequestFailure } from '../../../lib/rehearsal/failure.js'
import { parseRequests } from '../../../lib/rehearsal/requests.js'

/** A client that ends when its connection says so; what it asked, and what it told. */
function setUp(play: (asked: number) => Exchange, current: () => object | undefined = () => undefined) {
  const asked: string[] = []
  const told: string[] = []
  const ending = new AbortController()
  const connection: ClientConnection = {
    current,
    destroy: () => void told.push('destroyed'),
    async ask({ name }, { cookie = '' }) {
      asked.push(`${name} ${cookie}`.trim())
      if (asked.length === 3) ending.abort()
      return play(asked.length)
    }
  }
  const plan = { pause: [0, 0] as const, requests: parseRequests(['GET /']), latency: 1 }
  const witness = {
    answered: (_: unknown, status: number) => void told.push(String(status)),
    failed: (_: unknown, { kind }: RequestFailure) => void told.push(kind)
  }
  const client = startClient(connection, plan, witness, ending.signal)
  return { client, asked, told, end: () => ending.abort() }
}

const fine: Exchange = { status: 200, cookies: [] }

t.test('it keeps its cookies, and ends after the request that is under way', async t => {
  const { client, asked, told } = setUp(count => ({
    status: 200,
    cookies: count === 1 ? ['a=1; HttpOnly', 'b=2'] : count === 2 ? ['a=3'] : []
  }))
  t.equal(client.waiting(), undefined)
  await client.ended
  t.same(asked, ['GET /', 'GET / a=1; b=2', 'GET / a=3; b=2'])
  t.same(told, ['200', '200', '200', 'destroyed'])
})

t.test('a request that fails is told of, and not sent again', async t => {
  const { client, asked, told } = setUp(count => {
    if (count === 1) throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
    return fine
  })
  await client.ended
  t.same(told, ['reset', '200', '200', 'destroyed'])
  t.equal(asked.length, 3)
})

t.test('a request is lost whose connection is closed while it is on its way', async t => {
  let current: object | undefined = { first: true }
  let looks = 0
  const { client, asked, told, end } = setUp(
    () => fine,
    () => {
      looks++
      if (looks === 2) current = undefined // the server has closed it, behind the client's choice
      if (looks === 4) end()
      return current
    }
  )
  await client.ended
  t.same(told[0], 'reset')
  t.ok(asked.length >= 1, 'and the next one goes out on a new one')
})

t.test('weights say how often each request is sent', async t => {
  const counts: Record<string, number> = {}
  const ending = new AbortController()
  let left = 400
  const connection: ClientConnection = {
    current: () => undefined,
    destroy() {},
    async ask({ name }) {
      counts[name] = (counts[name] ?? 0) + 1
      if (--left === 0) ending.abort()
      return fine
    }
  }
  const requests = parseRequests(['{"path":"/often","weight":9}', '/seldom'])
  const witness = { answered() {}, failed() {} }
  await startClient(connection, { pause: [0, 0], requests, latency: 0 }, witness, ending.signal).ended
  t.ok(counts['GET /often']! > 300 && counts['GET /seldom']! > 5, JSON.stringify(counts))
})
