import type http from 'node:http'
import type { Server, Socket } from 'node:net'
import { isMovable, setIdleUntil } from './connections.js'
import { closeLingering } from './lingering-close.js'
import type { Listener } from './listeners.js'
import { type RawHandle, wrapAccepted } from './node-internals.js'
import { longestTime } from './options.js'
import type { ConnectionOffer } from './protocol.js'
import { silenceRequestTimeout } from './request-timeout.js'

/** Ends of idle connections are rounded up to this many milliseconds. */
const timerStep = 100
/** So long before a server may first end a connection for its silence, that is prevented, in milliseconds. */
const timeoutMargin = 1_000

/**
 * Takes over a connection from an older generation: from here on it is like one that this server has accepted.
 * @returns false, with the handle closed, where it can't be taken
 */
export function adopt(listeners: readonly Listener[], offer: ConnectionOffer, handle: RawHandle): boolean {
  const { key, bound } = offer.listener
  const listener =
    listeners.find(candidate => candidate.key === key) ?? listeners.find(other => other.bound === bound)
  const socket = listener && isAdopter(listener.server) ? wrapAccepted(listener.server, handle) : undefined
  if (listener === undefined || socket === undefined) {
    handle.close()
    return false
  }
  const { server } = listener
  server.emit('connection', socket)
  if (offer.idleTime !== null) endQuietlyAfter(offer.idleTime, socket, server)
  return true
}

function isAdopter(server: Server): boolean {
  return isMovable(server) && server.listening
}

/**
 * The parser is new and waits for a first request, for which `headersTimeout` applies: a 408 would follow. But the
 * connection is an idle one, which ends without a word after its keep-alive time.
 */
function endQuietlyAfter(idleTime: number, socket: Socket, server: Server): void {
  // Connections that end at different times have a list of timers each; few lists are fast ones.
  const time = Math.min(Math.ceil(idleTime / timerStep) * timerStep, longestTime)
  setIdleUntil(socket, performance.now() + idleTime)
  const limit = Math.max(firstTimeout(server as http.Server) - timeoutMargin, 0)
  const end = setTimeout(() => isUnread() && closeLingering(socket), time)
  const silence =
    limit < time ? setTimeout(() => isUnread() && silenceRequestTimeout(socket), limit) : undefined
  end.unref()
  silence?.unref()
  socket.once('close', () => {
    clearTimeout(end)
    clearTimeout(silence)
  })

  function isUnread(): boolean {
    return socket.bytesRead === 0
  }
}

/** What a server sees of a connection that does nothing, in milliseconds; Infinity where it has no such limit. */
function firstTimeout({ headersTimeout, requestTimeout }: http.Server): number {
  return Math.min(headersTimeout || Number.POSITIVE_INFINITY, requestTimeout || Number.POSITIVE_INFINITY)
}
