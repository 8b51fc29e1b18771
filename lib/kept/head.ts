import type { IncomingMessage } from 'node:http'
import type { Told } from '../handover/offer.js'

/** The head of a response. */
export interface Head {
  readonly status: number
  /** By their names in small letters. */
  readonly headers: ReadonlyMap<string, string>
}

/** @param text without the empty line at its end, or with it */
export function readHead(text: string): Head {
  const [first = '', ...lines] = text.trimEnd().split('\r\n')
  const headers = lines.map(line => {
    const at = line.indexOf(':')
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const
  })
  return { status: Number(first.split(' ')[1]), headers: new Map(headers) }
}

/** Of a response whose end is to come. */
export function framingOf({ headers }: Head): string {
  if (headers.get('transfer-encoding') !== undefined) return 'chunked'
  return headers.get('content-length') ?? 'close'
}

/** Whether a compressor has the end of it: one that begins anew would not go on. */
export function isEncoded({ headers }: Head): boolean {
  return (headers.get('content-encoding') ?? 'identity') !== 'identity'
}

/** Whether a client that was told so may go on as if it had been told this. */
export function matches(head: Head, told: Told): boolean {
  const { status, headers } = head
  switch (told.kind) {
    case 'webSocket':
      return (
        status === 101 &&
        (headers.get('sec-websocket-protocol') ?? '') === told.protocol &&
        (headers.get('sec-websocket-extensions') ?? '') === told.extensions
      )
    case 'stream': {
      if (status !== told.status || isEncoded(head)) return false
      return endsAtOnce(head, told) || (framingOf(head) === told.framing && typeOf(head) === told.type)
    }
    case 'socket':
      return status === 101 || (status >= 200 && status < 300)
  }
}

/** A stream with nothing left to say: Node.js has ended it without chunks. */
export function endsAtOnce(head: Head, told: Told): boolean {
  return told.kind === 'stream' && told.framing === 'chunked' && framingOf(head) === '0'
}

export function typeOf({ headers }: Head): string {
  return headers.get('content-type') ?? ''
}

/** An event stream, as long as it likes to be: it is whole behind any event. */
export function isEventStream(head: Head): boolean {
  return typeOf(head).startsWith('text/event-stream') && ['chunked', 'close'].includes(framingOf(head))
}

/** Of a request, for the log: its query may hold a secret. */
export function routeOf({ method, url }: IncomingMessage): string {
  return `${method} ${url?.split('?')[0]}`
}

/**
 * The head of a request as a client would send it.
 * @param replaced by names in small letters; what is undefined is left out
 */
export function requestHead(
  request: IncomingMessage,
  replaced: Readonly<Record<string, string | undefined>>
): Buffer {
  const { method, httpVersion, rawHeaders } = request
  const { originalUrl } = request as { originalUrl?: unknown } // of whoever has rewritten the other one
  const url = typeof originalUrl === 'string' ? originalUrl : request.url
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (!(name.toLowerCase() in replaced)) lines.push(`${name}: ${rawHeaders[index + 1]}`)
  }
  for (const [name, value] of Object.entries(replaced))
    if (value !== undefined) lines.push(`${name}: ${value}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}
