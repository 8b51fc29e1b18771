import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'

/** A request of HTTP/1.1 and its response, as Node.js publishes them to whoever has subscribed. */
export interface Exchange {
  readonly server: Server
  readonly response: ServerResponse
  readonly socket: Socket
}

/** Of all servers of this process, from their next request on. @returns ends it */
export function watchRequests(onRequest: (exchange: Exchange) => void): () => void {
  return watch('http.server.request.start', onRequest)
}

/** The same of responses that are written to their end. @returns ends it */
export function watchResponses(onResponse: (exchange: Exchange) => void): () => void {
  return watch('http.server.response.finish', onResponse)
}

function watch(channel: string, on: (exchange: Exchange) => void): () => void {
  const hear = (message: unknown) => on(message as Exchange)
  subscribe(channel, hear)
  return () => unsubscribe(channel, hear)
}
