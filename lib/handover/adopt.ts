import type http from 'node:http'
import type { Socket } from 'node:net'
import { closeLingering } from '../connections/ending.js'
import { startClock } from '../connections/idle-clock.js'
import { isMovable } from '../connections/server-kind.js'
import { onNextRequest } from '../internals/http1.js'
import type { RawHandle } from '../internals/raw-handle.js'
import { silenceRequestTimeout } from '../internals/request-timeout.js'
import { wrapAccepted } from '../internals/socket.js'
import type { ListenerAddress } from '../listeners/address.js'
import type { Listener } from '../listeners/listeners.js'
import type { ConnectionOffer } from './offer.js'

/** What this process has taken over: it belongs to a socket here, also where it has come to the master in the same process. */
const adoptedHere = new WeakSet<RawHandle>()

export function isAdoptedHere(handle: RawHandle): boolean {
  return adoptedHere.has(handle)
}

/** To be called for a handle that is somebody's from now on. */
export function noteAdoption(handle: RawHandle): void {
  adoptedHere.add(handle)
}

/** So long before a server may first end a connection for its silence, that is prevented, in milliseconds. */
const timeoutMargin = 1_000

/**
 * Takes over a connection from an older generation: from here on it is like one that this server has accepted.
 * @returns false, with the handle closed, where it can't be taken
 */
export function adopt(listeners: readonly Listener[], offer: ConnectionOffer, handle: RawHandle): boolean {
  const listener = adopterOf(listeners, offer.listener)
  const socket = listener && wrapAccepted(listener.server, handle)
  if (listener === undefined || socket === undefined) {
    handle.close()
    return false
  }
  noteAdoption(handle)
  const { idleTime, freshTime } = offer
  const server = listener.server as http.Server
  server.emit('connection', socket)
  if (idleTime !== null) stayIdle(socket, server, idleTime)
  // Only if fresh ones have such a time here, too.
  else if (freshTime !== undefined && socket.timeout)
    startClock(socket, freshTime, false, () => void socket.emit('timeout'))
  return true
}

/** The listener here that takes the connections of another process's one; undefined where there is none. */
export function adopterOf(
  listeners: readonly Listener[],
  { key, bound }: ListenerAddress
): Listener | undefined {
  const listener =
    listeners.find(candidate => candidate.key === key) ?? listeners.find(other => other.bound === bound)
  return listener && isMovable(listener.server) && listener.server.listening ? listener : undefined
}

/**
 * To Node.js, and to the application, the connection is a fresh one. But its client has been told for how long it stays
 * open, and then it ends without a word.
 */
function stayIdle(socket: Socket, server: http.Server, idleTime: number): void {
  startClock(socket, idleTime, true, () => closeLingering(socket))
  putOffTimeout(socket, server, idleTime)
  silenceInTime(socket, server, idleTime)
}

/**
 * The timer of a fresh connection, `server.timeout` or the application's own. On one that was never moved the keep-alive
 * time took its place behind the first response, and `server.timeout` takes the place of that when a request has come.
 */
function putOffTimeout(socket: Socket, server: http.Server, idleTime: number): void {
  const { timeout } = socket
  if (!timeout) return
  const isPutOff = onNextRequest(socket, () =>
    socket.setTimeout(server.keepAliveTimeout > 0 ? server.timeout : timeout)
  )
  socket.setTimeout(isPutOff ? 0 : Math.max(timeout, idleTime + timeoutMargin))
}

/** The parser is new and waits for a first request, for which `headersTimeout` applies: a 408 would follow. */
function silenceInTime(socket: Socket, server: http.Server, idleTime: number): void {
  const limit = Math.max(firstTimeout(server) - timeoutMargin, 0)
  if (limit >= idleTime) return
  const timer = setTimeout(() => {
    if (socket.bytesRead === 0) silenceRequestTimeout(socket)
  }, limit)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
}

/** What a server sees of a connection that does nothing, in milliseconds; Infinity where it has no such limit. */
function firstTimeout({ headersTimeout, requestTimeout }: http.Server): number {
  return Math.min(headersTimeout || Number.POSITIVE_INFINITY, requestTimeout || Number.POSITIVE_INFINITY)
}
