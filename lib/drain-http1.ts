import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'
import type { Connections } from './connections.js'
import { currentResponse, newestRequest } from './node-internals.js'

const requestStart = 'http.server.request.start'

interface RequestStart {
  readonly server: Server
  readonly response: ServerResponse
  readonly socket: Socket
}

interface AnnounceOptions {
  /** Whether this connection shall end: asked when a head is written. */
  wants(socket: Socket): boolean
  onResponseEnd(socket: Socket, server: Server): void
}

/**
 * From now on every response of these servers whose head is not out yet carries `Connection: close`, if that is wanted, except
 * where a later request of the same connection waits behind it: then the last one's does (RFC 9112, 9.3.2 and
 * 9.6). Node.js itself then ends the connection after that response.
 * @returns a function that stops looking at new requests
 */
export function announceClose(
  servers: ReadonlyMap<Server, Connections>,
  { wants, onResponseEnd }: AnnounceOptions
): () => void {
  for (const [server, { sockets }] of servers) {
    for (const socket of sockets) {
      const response = currentResponse(socket)
      if (response !== undefined) announceOn(response, socket, server)
    }
  }
  subscribe(requestStart, onRequest)
  return () => unsubscribe(requestStart, onRequest)

  function onRequest(message: unknown): void {
    const { server, response, socket } = message as RequestStart
    if (servers.has(server)) announceOn(response, socket, server)
  }

  function announceOn(response: ServerResponse, socket: Socket, server: Server): void {
    if (!response.headersSent) closeAfter(response, socket, wants)
    response.once('close', () => {
      // A pipelined response of before the drain, of which nobody told us, is the next in turn.
      const next = currentResponse(socket)
      if (next !== undefined && next !== response && !watched.has(next)) announceOn(next, socket, server)
      onResponseEnd(socket, server)
    })
    watched.add(response)
  }
}

/** Responses that have a `close` listener of ours already. */
const watched = new WeakSet<ServerResponse>()

type Headers = OutgoingHttpHeaders | OutgoingHttpHeader[]
type WriteHead = (status: number, ...rest: [] | [Headers] | [string | undefined, Headers?]) => ServerResponse

/**
 * Every head leaves through `writeHead()`, whether the application calls it or Node.js does. What it says of
 * the connection itself (`keep-alive`, often, in handlers of server-sent events) is replaced.
 */
function closeAfter(response: ServerResponse, socket: Socket, wants: (socket: Socket) => boolean): void {
  const writeHead = response.writeHead as WriteHead
  response.writeHead = function writeHeadWithClose(this: ServerResponse, status: number, ...rest: unknown[]) {
    response.writeHead = writeHead as ServerResponse['writeHead']
    if (!isLast(response.req, socket) || !wants(socket)) return writeHead.call(this, status, ...(rest as []))

    const at = rest.findIndex(argument => typeof argument === 'object' && argument !== null)
    if (at === -1) this.setHeader('Connection', 'close')
    else rest[at] = withClose(rest[at] as Headers)
    return writeHead.call(this, status, ...(rest as []))
  } as ServerResponse['writeHead']
}

/** Whether no later request has been read from the connection. */
function isLast(request: IncomingMessage, socket: Socket): boolean {
  const newest = newestRequest(socket)
  return newest == null || newest === request
}

/** The same headers, in the same one of the forms that `writeHead()` takes, with `Connection: close`. */
function withClose(headers: Headers): Headers {
  if (!Array.isArray(headers)) {
    const others = Object.entries(headers).filter(([name]) => !isConnection(name))
    return Object.fromEntries([...others, ['Connection', 'close']])
  }
  if (Array.isArray(headers[0])) {
    const pairs = headers as unknown as [string, OutgoingHttpHeader][]
    return [...pairs.filter(([name]) => !isConnection(name)), ['Connection', 'close']] as unknown as Headers
  }
  if (headers.length % 2 !== 0) return headers // writeHead() will refuse them
  const flat: OutgoingHttpHeader[] = []
  for (let index = 0; index < headers.length; index += 2) {
    const [name, value] = headers.slice(index, index + 2)
    if (!isConnection(name) && name !== undefined && value !== undefined) flat.push(name, value)
  }
  return [...flat, 'Connection', 'close']
}

function isConnection(name: unknown): boolean {
  return typeof name === 'string' && name.toLowerCase() === 'connection'
}
