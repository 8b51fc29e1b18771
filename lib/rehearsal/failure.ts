/** Ways in which a request may fail, in the order in which they are shown. */
export const failureKinds = [
  'refused',
  'reset',
  'eof',
  'cut body',
  'timeout',
  '5xx',
  'status',
  'handshake',
  'other'
] as const

/** `eof`: the connection has ended without an answer. `cut body`: in the middle of it. `handshake`: of a WebSocket. */
export type FailureKind = (typeof failureKinds)[number]

/** A request without its whole answer. */
export class RequestFailure extends Error {
  readonly kind: FailureKind

  constructor(kind: FailureKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

const kinds: Readonly<Record<string, FailureKind>> = {
  ECONNREFUSED: 'refused',
  ENOENT: 'refused',
  ECONNRESET: 'reset',
  EPIPE: 'reset',
  ECONNABORTED: 'reset',
  UND_ERR_SOCKET: 'eof',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  ETIMEDOUT: 'timeout'
}

/** @param hasBegun whether the head of the answer had come */
export function failureOf(error: unknown, hasBegun: boolean): RequestFailure {
  if (error instanceof RequestFailure) return error
  const { code = '', message, cause } = error as NodeJS.ErrnoException
  // Of HTTP/2 each stream has an error of its own, behind that of its session.
  const kind = kinds[code] ?? kinds[(cause as NodeJS.ErrnoException | undefined)?.code ?? ''] ?? 'other'
  const text = code === '' || message.includes(code) ? message : `${message} (${code})`
  if (hasBegun && kind !== 'timeout') return new RequestFailure('cut body', text, { cause: error })
  return new RequestFailure(kind, text, { cause: error })
}
