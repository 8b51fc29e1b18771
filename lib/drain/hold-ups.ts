import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import type { Server, Socket } from 'node:net'
import { knownConnection } from '../connections/connection.js'
import { connectionsOf } from '../connections/connections.js'
import { sessionsOf } from '../connections/http2-sessions.js'
import { isHttp2 } from '../connections/server-kind.js'
import type { ConnectionState } from '../connections/state.js'
import { currentResponse, hasParser } from '../internals/http1.js'
import { openStreams, requestOf } from '../internals/http2.js'
import { webSocketOf } from '../internals/ws.js'
import { firstOf, type HoldUp, nameRequest, nameUrl } from './hold-up.js'

interface Drain {
  /** `performance.now()` */
  readonly since: number
  /** In lower case. */
  readonly idHeader: string | undefined
}

/** Servers that drain, or have drained. */
const drains = new WeakMap<Server, Drain>()

/** When a request, or a stream, has begun that has come in a drain. */
const begun = new WeakMap<object, number>()

const requestStart = 'http.server.request.start'

/**
 * From now on it can be said what these servers wait for. Nothing was noted of a request before: what there is to know is
 * found on its connection.
 * @param since when their drain has begun: `performance.now()`
 * @param requestIdHeader Fastify's option
 * @returns requests that come from then on are not noted any more
 */
export function watchHoldUps(
  servers: readonly Server[],
  since: number,
  requestIdHeader: unknown
): () => void {
  const idHeader = typeof requestIdHeader === 'string' ? requestIdHeader.toLowerCase() : undefined
  for (const server of servers) {
    drains.set(server, { since, idHeader })
    if (isHttp2(server)) server.on('stream', note)
  }
  subscribe(requestStart, onRequest)
  return () => {
    unsubscribe(requestStart, onRequest)
    for (const server of servers) server.off('stream', note)
  }
}

function onRequest(message: unknown): void {
  note((message as { request: IncomingMessage }).request)
}

function note(request: object): void {
  begun.set(request, performance.now())
}

/** What those of these servers wait for that drain: the oldest requests, then what else is open, and no more than five. */
export function holdUpsOf(servers: Iterable<Server>): readonly HoldUp[] {
  return firstOf([...servers].flatMap(holdUpsOfOne))
}

function holdUpsOfOne(server: Server): HoldUp[] {
  const drain = drains.get(server)
  if (drain === undefined) return []
  const { since, idHeader } = drain
  const now = performance.now()
  const sockets = [...connectionsOf(server).states()].flatMap(([socket, state]) => holdUpOn(socket, state))
  const sessions = [...(sessionsOf(server)?.keys() ?? [])].filter(({ destroyed }) => !destroyed)
  return [...sockets, ...sessions.flatMap(session => streamsOf(openStreams(session)?.values() ?? []))]

  function holdUpOn(socket: Socket, state: ConnectionState): HoldUp[] {
    const { name = 'here' } = knownConnection(socket)?.phase ?? {}
    if (state === 'idle' || state === 'fresh' || name === 'away' || name === 'ending') return []
    if (isHttp2(server) && !hasParser(socket)) return [] // its streams are
    const request = currentResponse(socket)?.req
    if (state === 'detached') {
      if (webSocketOf(socket) === undefined) return [{ kind: 'other', ms: timeOf() }]
      return [
        { kind: 'webSocket', ...(request?.url !== undefined && { url: nameUrl(request.url) }), ms: timeOf() }
      ]
    }
    if (request !== undefined) return [nameOf(request, request)]
    return [{ kind: hasParser(socket) ? 'request' : 'other', ms: timeOf() }]
  }

  function streamsOf(streams: Iterable<ServerHttp2Stream>): HoldUp[] {
    return [...streams].map(stream => nameOf(requestOf(stream) ?? {}, stream))
  }

  function nameOf(
    request: Partial<Pick<IncomingMessage, 'method' | 'url' | 'headers'>>,
    noted: object
  ): HoldUp {
    const id = idHeader === undefined ? undefined : request.headers?.[idHeader]
    return { kind: 'request', ...nameRequest(request, id), ms: timeOf(noted) }
  }

  function timeOf(noted?: object): number {
    return Math.round(now - ((noted && begun.get(noted)) ?? since))
  }
}
