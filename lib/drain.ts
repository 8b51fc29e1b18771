import type { Server, Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { type ConnectionState, connectionsOf, countConnections } from './connections.js'
import { endWebSockets } from './drain-detached.js'
import { announceClose } from './drain-http1.js'
import { endSessions } from './drain-http2.js'
import { createHandover, type Handover, isMovable } from './handover.js'
import { closeLingering } from './lingering-close.js'
import { connectionsAtRest } from './node-internals.js'
import type { ListenerAddress, Relay } from './protocol.js'
import { holdClose, stopAccepting } from './stop-accepting.js'

/** Why a generation is on its way out: a next one serves, or nobody follows. */
export type DrainReason = 'upgrade' | 'close'

export interface DrainOptions {
  /** May turn from 'upgrade' to 'close' while the drain lasts. */
  readonly reason: () => DrainReason
  /** Longest pause between two sweeps, in milliseconds. */
  readonly pollInterval: number
  /** Longest time of the whole drain, in milliseconds. */
  readonly drainTimeout: number
  readonly log: FastifyBaseLogger
  /** On the way to an upgrade: what becomes of plain HTTP/1.1 connections, and how they get to the next generation. */
  readonly handover: 'idle' | 'all' | false
  readonly relay: Relay | undefined
  readonly addressOf: (server: Server) => ListenerAddress | undefined
  /** Time over which WebSockets are told, in milliseconds. */
  readonly spreadTime: number
  /** Resolves when the application has said goodbye itself; its WebSockets are told then. */
  readonly farewell?: Promise<unknown>
}

/** A connection on which nothing has come after this time counts as idle (milliseconds), as in Go. */
const freshTimeout = 5_000
/** Pause between two log lines about the same drain, in milliseconds. */
const logInterval = 5_000
/** Time between FIN and the hard close of a connection that is left at the deadline, in milliseconds. */
const cutTime = 100

/**
 * Stops accepting, lets requests finish, and gives away or ends what is idle: Go's `http.Server.Shutdown`, with its
 * schedule of sweeps, and more. On the way to an upgrade no idle connection is closed, as its next request may be
 * on its way: it is handed to the next generation, or served once more with `Connection: close`.
 *
 * Resolves when no HTTP connection is left, and WebSockets have been told. Detached ones don't hold it up further, as
 * in Go; but they too are cut at the deadline, so that a `close()` that waits for them ends. Never rejects.
 */
export async function drain(servers: readonly Server[], options: DrainOptions): Promise<void> {
  const { pollInterval, drainTimeout, log } = options
  const start = performance.now()
  const deadline = start + drainTimeout
  const connections = new Map(servers.map(server => [server, connectionsOf(server)] as const))
  const releaseClose = servers.map(holdClose)
  const gone = Promise.all(servers.map(stopAccepting))
  const total = countConnections(connections.values())
  const handover = prepareHandover(servers, options, held(total), onHandoverReady)

  if (held(total) > 0) log.info({ reason: options.reason(), connections: total }, 'draining')

  const { promise: looked, resolve: done } = withResolvers()
  const timeUp = new AbortController()
  const timeUpTimer = setTimeout(() => timeUp.abort(), drainTimeout)
  const webSockets = endWebSockets(connections.values(), {
    reason: options.reason,
    spreadTime: options.spreadTime,
    begin: Promise.race([options.farewell, aborted(timeUp.signal)]),
    signal: timeUp.signal
  })
  const cutSockets = new Set<Socket>()
  let ended = 0
  const touched = new Map<Server, Set<Socket>>(servers.map(server => [server, new Set()]))
  let pending: NodeJS.Timeout | undefined
  let soon: NodeJS.Timeout | NodeJS.Immediate | undefined
  let pause = 1
  let logged = start
  let lookTime = 0
  let finished = false
  const announcement = announceClose(connections, {
    wants: socket => options.handover !== 'all' || options.reason() === 'close' || !handover?.mayTake(socket),
    onResponseEnd: touch
  })
  for (const { sockets } of connections.values()) {
    for (const socket of sockets) socket.once('close', onClose)
  }
  const sessions = endSessions(servers, options)
  sweep()
  await looked
  clearTimeout(pending)
  finished = true
  announcement.stop()
  sessions.stop()
  await webSockets.firstTold
  clearTimeout(timeUpTimer)
  cutDetachedAtDeadline()
  for (const release of releaseClose) release()
  const { told } = webSockets
  if (held(total) > 0 || told > 0) {
    const ms = Math.round(performance.now() - start)
    const counts = { finished: ended - (handover?.report.moved ?? 0), told, cut: cutSockets.size }
    log.info({ reason: options.reason(), ms, ...handover?.report, ...counts }, 'drained')
  }

  function onClose(this: Socket): void {
    if (!cutSockets.has(this)) ended++
    lookSoon()
  }

  function sweep(): void {
    clearTimeout(pending)
    announcement.renew()
    webSockets.tellLate()
    look()
    pending = setTimeout(sweep, Math.min(pause + (Math.random() * pause) / 10, deadline - performance.now()))
    pause = Math.min(pause * 2, pollInterval)
  }

  /** A response has ended: its connection may be idle now, and not for long. */
  function touch(socket: Socket, server: Server): void {
    touched.get(server)?.add(socket)
    if (handover === undefined || handover.isReady()) lookSoon()
  }

  function onHandoverReady(): void {
    for (const { size } of touched.values()) if (size > 0) return lookSoon()
  }

  /** Many connections may end or be touched at once, and the list of those at rest is long: one look serves all. */
  function lookSoon(): void {
    if (soon !== undefined) return
    const wait = lookTime * 10
    soon = wait < 1 ? setImmediate(look) : setTimeout(look, wait)

    function look(): void {
      soon = undefined
      if (!finished) lookAtTouched()
    }
  }

  function lookAtTouched(): void {
    const begun = performance.now()
    let left = 0
    for (const [server, list] of connections) {
      left += list.sockets.size
      const some = touched.get(server)
      if (some === undefined || some.size === 0) continue
      for (const [socket, state] of list.states(some)) act(server, socket, state, true)
      some.clear()
    }
    lookTime = performance.now() - begun
    if (left === 0) done()
  }

  /** @returns whether the connection is still one to wait for */
  function act(server: Server, socket: Socket, state: ConnectionState, justIdle: boolean): boolean {
    if (options.reason() === 'close') {
      const isOver = state === 'idle' || (state === 'fresh' && performance.now() - start >= freshTimeout)
      if (!isOver || handover?.isAway(socket)) return true
      closeLingering(socket)
      return false
    }
    const isAtRest = state === 'idle' || state === 'fresh'
    if (isAtRest && handover !== undefined && isMovable(server))
      handover.consider(server, socket, state, justIdle)
    return true
  }

  function look(): void {
    const now = performance.now()
    const counts = { fresh: 0, idle: 0, active: 0, detached: 0 }
    for (const [server, list] of connections) {
      for (const [socket, state] of list.states()) {
        if (act(server, socket, state, false)) counts[state]++
      }
    }
    if (held(counts) === 0) return done()
    const ms = Math.round(now - start)
    const reason = options.reason()
    if (now >= deadline) {
      log.warn({ reason, ms, connections: counts }, 'drain timed out, cutting connections')
      sessions.cut()
      for (const list of connections.values()) {
        for (const [socket, state] of list.states()) {
          if (state === 'detached') continue
          cutSockets.add(socket)
          if (handover?.isAway(socket)) socket.destroy()
          else cut(socket)
        }
      }
      return done()
    }
    if (now - logged >= logInterval) {
      logged = now
      log.info({ reason, ms, connections: counts }, 'draining')
    }
  }

  /** Not awaited: it ends with the last connection, or at the deadline. */
  function cutDetachedAtDeadline(): void {
    const late = setInterval(webSockets.tellLate, pollInterval)
    const timer = setTimeout(
      () => {
        const left = [...connections.values()].flatMap(({ sockets }) => [...sockets])
        if (left.length > 0)
          log.warn({ reason: options.reason(), detached: left.length }, 'cutting detached connections')
        for (const socket of left) cut(socket)
      },
      Math.max(deadline - performance.now(), 0)
    )
    gone
      .then(() => {
        clearInterval(late)
        clearTimeout(timer)
      })
      .catch(() => {})
  }
}

function prepareHandover(
  servers: readonly Server[],
  options: DrainOptions,
  total: number,
  onReady: () => void
): Handover | undefined {
  const { reason, handover, relay, addressOf, drainTimeout, log } = options
  const movable = servers.filter(isMovable)
  if (reason() !== 'upgrade' || handover === false || relay === undefined || movable.length === 0)
    return undefined
  if (movable.every(server => connectionsAtRest(server) !== undefined))
    return createHandover({ relay, addressOf, total, drainTimeout, onReady })
  log.warn(
    'this version of Node.js hides what handover needs: each connection waits for one more request instead'
  )
  return undefined
}

function held({ fresh, idle, active }: { fresh: number; idle: number; active: number }): number {
  return fresh + idle + active
}

/** FIN first, so that a client sees an end rather than a reset; then the hard close, also of one that lingers. */
function cut(socket: Socket): void {
  closeLingering(socket, cutTime)
  setTimeout(() => socket.destroy(), cutTime)
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted
    ? Promise.resolve()
    : new Promise(resolve => signal.addEventListener('abort', resolve))
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>(settle => {
    resolve = settle
  })
  return { promise, resolve }
}
