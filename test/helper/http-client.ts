import { once } from 'node:events'
import net, { type NetConnectOpts, type Socket } from 'node:net'
import tls, { type ConnectionOptions as TlsOptions } from 'node:tls'

export type Failure = 'refused' | 'reset' | 'eof' | 'timeout' | 'non-2xx' | 'short body' | 'other'

export interface Response {
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: Buffer
}

/** A request that went wrong, by the kind that the experiment counts. */
export class RequestError extends Error {
  readonly failure: Failure
  constructor(failure: Failure, message: string = failure) {
    super(message)
    this.failure = failure
  }
}

/**
 * One keep-alive connection of a client that never retries. It goes on to a new connection only where the
 * server has said so, with `Connection: close`.
 */
export class Client {
  readonly #address: NetConnectOpts
  readonly #timeout: number
  #socket: Socket | undefined
  #received = Buffer.alloc(0)
  #notify: (() => void) | undefined
  #ended: RequestError | undefined
  /** How many TCP connections were opened. */
  opened = 0

  constructor(address: NetConnectOpts, { timeout = 60_000 } = {}) {
    this.#address = address
    this.#timeout = timeout
  }

  /** How the connection of now has ended, without an announcement. */
  get ended(): Failure | undefined {
    return this.#ended?.failure
  }

  /** The socket of now, for tests that write bytes of their own. */
  async socket(): Promise<Socket> {
    if (this.#socket && !this.#ended) return this.#socket
    this.close()
    const address = { noDelay: true, ...this.#address } as NetConnectOpts | TlsOptions
    const isSecure = 'servername' in address
    const socket = isSecure ? tls.connect(address) : net.connect(address as NetConnectOpts)
    this.#ended = undefined
    this.#received = Buffer.alloc(0)
    this.opened++
    try {
      await once(socket, 'connect')
    } catch (error) {
      throw failureOf(error as NodeJS.ErrnoException)
    }
    socket.on('data', chunk => {
      if (socket !== this.#socket) return
      this.#received = Buffer.concat([this.#received, chunk])
      this.#notify?.()
    })
    socket.on('error', error => this.#end(socket, failureOf(error)))
    socket.on('end', () => this.#end(socket, new RequestError('eof')))
    socket.on('close', () => this.#end(socket, new RequestError('eof')))
    this.#socket = socket
    return socket
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return this.request('GET', path, headers)
  }

  post(path: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
    const type = { 'Content-Type': 'application/x-www-form-urlencoded', ...headers }
    return this.request('POST', path, { ...type, 'Content-Length': String(Buffer.byteLength(body)) }, body)
  }

  /** Head and body leave in one segment. */
  async request(method: string, path: string, headers: Record<string, string>, body = ''): Promise<Response> {
    const socket = await this.socket()
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: test\r\n${fields.join('')}\r\n${body}`)
    return this.response()
  }

  /** The next response on the connection. */
  async response(): Promise<Response> {
    const response = await this.#read()
    if (/\bclose\b/i.test(response.headers.connection ?? '')) this.close()
    if (response.status < 200 || response.status > 299) {
      throw new RequestError('non-2xx', `${response.status} ${response.body}`)
    }
    return response
  }

  close(): void {
    const socket = this.#socket
    this.#socket = undefined
    socket?.destroy()
  }

  #end(socket: Socket, error: RequestError): void {
    if (socket !== this.#socket) return
    this.#ended ??= error
    this.#notify?.()
  }

  async #read(): Promise<Response> {
    const head = await this.#until(() => {
      const end = this.#received.indexOf('\r\n\r\n')
      return end === -1 ? undefined : end
    })
    const [statusLine = '', ...fields] = this.#received.toString('latin1', 0, head).split('\r\n')
    this.#received = this.#received.subarray(head + 4)
    const headers: Record<string, string> = {}
    for (const field of fields) {
      const colon = field.indexOf(':')
      const name = field.slice(0, colon).toLowerCase()
      const value = field.slice(colon + 1).trim()
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value
    }
    const body = headers['transfer-encoding'] === 'chunked' ? await this.#chunks() : await this.#take(headers)
    return { status: Number(statusLine.split(' ')[1]), headers, body }
  }

  async #take(headers: Record<string, string>): Promise<Buffer> {
    const length = Number(headers['content-length'] ?? 0)
    await this.#until(() => (this.#received.length >= length ? true : undefined), true)
    const body = this.#received.subarray(0, length)
    this.#received = this.#received.subarray(length)
    return body
  }

  async #chunks(): Promise<Buffer> {
    const parts: Buffer[] = []
    for (;;) {
      const end = await this.#until(() => {
        const at = this.#received.indexOf('\r\n')
        return at === -1 ? undefined : at
      }, true)
      const length = Number.parseInt(this.#received.toString('latin1', 0, end), 16)
      await this.#until(() => (this.#received.length >= end + 2 + length + 2 ? true : undefined), true)
      parts.push(this.#received.subarray(end + 2, end + 2 + length))
      this.#received = this.#received.subarray(end + 2 + length + 2)
      if (length === 0) return Buffer.concat(parts)
    }
  }

  /** Waits for more bytes until `ready` answers; a connection that ends instead is a failure. */
  #until<T>(ready: () => T | undefined, inBody = false): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => finish(() => reject(new RequestError('timeout'))), this.#timeout)
      const finish = (settle: () => void) => {
        clearTimeout(timer)
        this.#notify = undefined
        settle()
      }
      const look = () => {
        const answer = ready()
        if (answer !== undefined) return finish(() => resolve(answer))
        const ended = this.#ended
        if (!ended) return
        const error = inBody && ended.failure === 'eof' ? new RequestError('short body') : ended
        finish(() => reject(error))
      }
      this.#notify = look
      look()
    })
  }
}

function failureOf(error: NodeJS.ErrnoException): RequestError {
  const failures: Record<string, Failure> = {
    ECONNREFUSED: 'refused',
    ENOENT: 'refused',
    ECONNRESET: 'reset',
    EPIPE: 'reset'
  }
  return new RequestError(failures[error.code ?? ''] ?? 'other', error.message)
}
