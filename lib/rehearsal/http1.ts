import type { ClientConnection, ConnectionOptions, Exchange } from './connection.js'
import { failureOf } from './failure.js'
import type { PlannedRequest } from './requests.js'
import { connectOptions, type Target } from './target.js'
import type { Undici } from './undici.js'

/** Longest time of a connection without a request, in milliseconds: that of the server comes first. */
const keepAliveTimeout = 600_000

/** HTTP/1.1 by undici: one connection, one request at a time. */
export function createHttp1(
  { Client }: Pick<Undici, 'Client'>,
  target: Target,
  { timeout, isFresh, onReconnect }: ConnectionOptions
): ClientConnection {
  const client = new Client(target.origin, {
    connect: { ...connectOptions(target), timeout },
    keepAliveTimeout,
    headersTimeout: timeout,
    bodyTimeout: timeout
  })
  let open: object | undefined
  let isFirst = true
  client.on('connect', () => {
    open = {}
    if (!isFirst && !isFresh) onReconnect()
    isFirst = false
  })
  client.on('disconnect', (_origin, _targets, error) => {
    open = undefined
    isFirst = isOwnWish(error)
  })
  return { current: () => open, ask, destroy: () => void client.destroy().catch(() => {}) }

  async function ask(request: PlannedRequest, headers: Readonly<Record<string, string>>): Promise<Exchange> {
    let hasBegun = false
    try {
      const { path, method, body } = request
      const answer = await client.request({
        path,
        method: method as 'GET',
        headers,
        ...(body !== undefined && { body }),
        ...(isFresh && { reset: true })
      })
      hasBegun = true
      for await (const _chunk of answer.body); // undici looks whether it is as long as it should be
      if (isLast(answer.headers.connection)) open = undefined // undici says so a moment later
      const cookies = answer.headers['set-cookie'] ?? []
      return { status: answer.statusCode, cookies: typeof cookies === 'string' ? [cookies] : cookies }
    } catch (error) {
      throw failureOf(error, hasBegun)
    }
  }
}

/** The server has announced that it closes the connection. */
function isLast(header: string | string[] | undefined): boolean {
  return /\bclose\b/i.test(String(header ?? ''))
}

/** Whoever has been silent for as long as the server allows goes first. */
function isOwnWish({ message }: Error): boolean {
  return message === 'socket idle timeout'
}
