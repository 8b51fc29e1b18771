import type { IncomingMessage, OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'
import type { Connections } from '../connections/connections.js'
import { lingerAtEnd } from '../connections/ending.js'
import { type Exchange, watchRequests, watchResponses } from '../connections/exchanges.js'
import { currentResponse, newestRequest } from '../internals/http1.js'
import { socketBelow } from '../internals/tls.js'

interface AnnounceOptions {
  /** Whether this connection shall end: asked when a request begins, and again when the head of its response is written. */
  wants(socket: Socket): boolean
  onResponseEnd(socket: Socket, server: Server): void
  /** The head of a response is written that says so: its connection ends behind it. */
  onTold?(socket: Socket): void
}

export interface CloseAnnouncement {
  /** For the responses under way whose connections shall end as of late. */
  renew(): void
  stop(): void
}

/**
 * From now on every response of these servers whose head is not out yet carries `Connection: close`, if that is wanted, except
 * where a later request of the same connection waits behind it: then the last one's does (RFC 9112, 9.3.2 and
 * 9.6). Node.js itself then ends the connection after that response.
 *
 * A response of which nothing is wanted is not touched: to change the shape of one takes the optimized code away
 * from all, in the very moment in which the machine is busiest.
 */
export function announceClose(
  servers: ReadonlyMap<Server, Connections>,
  { wants, onResponseEnd, onTold }: AnnounceOptions
): CloseAnnouncement {
  const announced = new WeakSet<ServerResponse>()
  renew()
  const stops = [watchRequests(onRequest), watchResponses(onFinish)]
  return {
    renew,
    stop() {
      for (const stop of stops) stop()
    }
  }

  function renew(): void {
    for (const { sockets } of servers.values()) {
      for (const socket of sockets) announceOnCurrent(socket)
    }
  }

  function onRequest({ server, response, socket }: Exchange): void {
    if (ownerOf(server, socket) !== undefined) announceOn(response, socket)
  }

  function onFinish({ server, socket }: Exchange): void {
    const owner = ownerOf(server, socket)
    if (owner === undefined) return
    onResponseEnd(socket, owner)
    // A pipelined response of before the drain, of which nobody told us, is the next in turn.
    queueMicrotask(() => announceOnCurrent(socket))
  }

  /** Of these servers, also the one in front of a server that we don't know, be it by a TLS connection. */
  function ownerOf(server: Server, socket: Socket): Server | undefined {
    if (servers.has(server)) return server
    for (let each: Socket | undefined = socket; each !== undefined; each = socketBelow(each)) {
      for (const [owner, { sockets }] of servers) if (sockets.has(each)) return owner
    }
    return undefined
  }

  function announceOnCurrent(socket: Socket): void {
    const response = currentResponse(socket)
    if (response !== undefined) announceOn(response, socket)
  }

  function announceOn(response: ServerResponse, socket: Socket): void {
    if (response.headersSent || announced.has(response) || !wants(socket)) return
    announced.add(response)
    closeAfter(response, socket, wants, onTold)
  }
}

type Headers = OutgoingHttpHeaders | OutgoingHttpHeader[]

type WriteHead = (status: number, ...rest: [] | [Headers] | [string | undefined, Headers?]) => ServerResponse

/**
 * Every head leaves through `writeHead()`, whether the application calls it or Node.js does. What it says of
 * the connection itself (`keep-alive`, often, in handlers of server-sent events) is replaced.
 */
function closeAfter(
  response: ServerResponse,
  socket: Socket,
  wants: AnnounceOptions['wants'],
  onTold: AnnounceOptions['onTold']
): void {
  const writeHead = response.writeHead as WriteHead
  response.writeHead = function writeHeadWithClose(this: ServerResponse, status: number, ...rest: unknown[]) {
    if (isLast(response.req, socket) && wants(socket)) {
      lingerAtEnd(socket)
      onTold?.(socket)
      const at = rest.findIndex(argument => typeof argument === 'object' && argument !== null)
      if (at === -1) this.setHeader('Connection', 'close')
      else rest[at] = withClose(rest[at] as Headers)
    }
    const result = writeHead.call(this, status, ...(rest as []))
    response.writeHead = writeHead as ServerResponse['writeHead'] // not if it throws: the next head is that of an error
    return result
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
