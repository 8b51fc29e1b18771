import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import { createDeferred } from '../time/deferred.js'
import type { ClientConnection, ConnectionOptions, Exchange } from './connection.js'
import { failureOf, RequestFailure } from './failure.js'
import type { PlannedRequest } from './requests.js'
import { connectOptions, type Target } from './target.js'

/** A first GOAWAY with this id says that what is on its way is answered yet (RFC 9113, 6.8). */
const everyStream = 2 ** 31 - 1

/** HTTP/2 by Node.js: one session, which is left at its GOAWAY. */
export function createHttp2(
  target: Target,
  { timeout, isFresh, onReconnect }: ConnectionOptions
): ClientConnection {
  let session: ClientHttp2Session | undefined
  /** Whether what has been sent on the last session before this moment will be answered. */
  let open: object | undefined
  let isFirst = true
  return { current: () => open, ask, destroy: () => session?.destroy() }

  async function ask(request: PlannedRequest, headers: Readonly<Record<string, string>>): Promise<Exchange> {
    const own = session ?? connect()
    const stream = own.request({ ...headers, ':method': request.method, ':path': request.path })
    stream.end(request.body)
    try {
      return await answerOf(stream, own, timeout)
    } finally {
      if (isFresh) leave(own)
    }
  }

  function connect(): ClientHttp2Session {
    const own = http2.connect(target.origin, connectOptions(target))
    session = own
    open = own
    own.on('connect', () => {
      if (!isFirst && !isFresh) onReconnect()
      isFirst = false
    })
    own.on('goaway', (_code, lastStream) => leave(own, lastStream === everyStream))
    own.on('error', () => leave(own)) // its streams tell of it
    own.on('close', () => leave(own))
    return own
  }

  function leave(own: ClientHttp2Session, isInTime = false): void {
    if (session === own && !isInTime) open = undefined
    if (session === own) session = undefined
    if (!own.destroyed) own.close() // what is under way is waited for
  }
}

function answerOf(
  stream: ClientHttp2Stream,
  session: ClientHttp2Session,
  timeout: number
): Promise<Exchange> {
  const { promise, resolve, reject } = createDeferred<Exchange>()
  let status: number | undefined
  let cookies: readonly string[] = []
  let hasEnded = false
  let failure: Error | undefined
  const timer = setTimeout(() => {
    reject(new RequestFailure('timeout', `no answer within ${timeout} ms`))
    stream.close(http2.constants.NGHTTP2_CANCEL)
  }, timeout)
  session.once('error', fail)
  stream.on('response', headers => {
    status = headers[':status'] ?? 0
    cookies = headers['set-cookie'] ?? []
  })
  stream.on('end', () => {
    hasEnded = true
  })
  stream.on('error', fail)
  stream.on('close', () => {
    clearTimeout(timer)
    session.off('error', fail)
    const isWhole = hasEnded && stream.rstCode === http2.constants.NGHTTP2_NO_ERROR
    if (status !== undefined && isWhole && failure === undefined) return resolve({ status, cookies })
    const isRefused = stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM
    if (isRefused) reject(new RequestFailure('reset', 'the stream was refused (REFUSED_STREAM)'))
    reject(failure ? failureOf(failure, status !== undefined) : endOf(status))
  })
  stream.resume()
  return promise

  function fail(error: Error): void {
    failure ??= error
  }
}

function endOf(status: number | undefined): RequestFailure {
  if (status === undefined) return new RequestFailure('eof', 'the stream has ended without an answer')
  return new RequestFailure('cut body', 'the stream has ended in the middle of an answer')
}
