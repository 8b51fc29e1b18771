import type { Server, Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { type ConnectionCounts, type ConnectionState, connectionsOf, isMovable } from './connections.js'
import { endWebSockets } from './drain-detached.js'
import { announceClose } from './drain-http1.js'
import { endSessions } from './drain-http2.js'
import { createShare } from './drain-idle.js'
import { type DrainReport, totalFate } from './drain-report.js'
import { createTally } from './drain-tally.js'
import { type Handover, prepareHandover } from './handover.js'
import { closeLingering, cut, isLingering } from './lingering-close.js'
import type { ListenerAddress, Relay } from './protocol.js'
import { holdClose, stopAccepting } from './stop-accepting.js'
import { wholeTurn } from './whole-turn.js'

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
  /** Time over which WebSockets and HTTP/2 sessions are told, in milliseconds. */
  readonly spreadTime: number
  /** Time over which idle connections that don't move are ended, in milliseconds. */
  readonly idleSpreadTime: number | false
  /** Resolves when the application has said goodbye itself; its WebSockets are told then. */
  readonly farewell?: Promise<unknown>
}

/** A connection on which nothing has come after this time counts as idle (milliseconds), as in Go. */
const freshTimeout = 5_000
/** Pause between two log lines about the same drain, in milliseconds. */
const logInterval = 5_000
/** Time for which a look at all connections holds up requests, in milliseconds: then it makes a pause for them. */
const longestTurn = 1

/**
 * Stops accepting, lets requests finish, and gives away or ends what is idle: Go's `http.Server.Shutdown`, with its
 * schedule of sweeps, and more. On the way to an upgrade no idle connection is closed, as its next request may be
 * on its way: it is handed to the next generation, or served once more with `Connection: close`.
 *
 * Resolves when no HTTP connection is left, and WebSockets have been told. Detached ones don't hold it up further, as
 * in Go; but they too are cut at the deadline, so that a `close()` that waits for them ends. Never rejects.
 * @returns what has become of the connections so far
 */
export async function drain(servers: readonly Server[], options: DrainOptions): Promise<() => DrainReport> {
  const { pollInterval, drainTimeout, log } = options
  const start = performance.now()
  const deadline = start + drainTimeout
  const connections = new Map(servers.map(server => [server, connectionsOf(server)] as const))
  const releaseClose = servers.map(holdClose)
  const gone = Promise.all(servers.map(stopAccepting))
  const total = [...connections.values()].reduce((sum, { sockets }) => sum + sockets.size, 0)
  const handover = beginHandover()
  const tally = createTally(connections, lookSoon)
  const report = () => tally.report(handover?.report)
  const share = createShare(options.idleSpreadTime)

  const { promise: looked, resolve: done } = withResolvers()
  const timeUp = new AbortController()
  const timeUpTimer = setTimeout(() => timeUp.abort(), drainTimeout)
  const touched = new Map<Server, Set<Socket>>(servers.map(server => [server, new Set()]))
  let pending: NodeJS.Timeout | undefined
  let soon: NodeJS.Timeout | NodeJS.Immediate | undefined
  let pause = 1
  /** The first look has counted them. */
  let first: ConnectionCounts | undefined
  let logged = start
  let lookTime = 0
  let finished = false
  const webSockets = endWebSockets(connections.values(), {
    reason: options.reason,
    spreadTime: options.spreadTime,
    begin: Promise.race([options.farewell, aborted(timeUp.signal)]),
    signal: timeUp.signal,
    onTold: socket => tally.told('webSocket', socket)
  })
  const announcement = announceClose(connections, {
    wants: socket => options.handover !== 'all' || options.reason() === 'close' || !handover?.mayTake(socket),
    onResponseEnd: touch
  })
  const sessions = endSessions(servers, {
    spreadTime: options.spreadTime,
    onTold: () => tally.told('http2')
  })
  if (total > 0) await wholeTurn() // for the requests that have waited for the above
  void sweep()
  await looked
  clearTimeout(pending)
  announcement.stop()
  sessions.stop()
  await webSockets.firstTold
  webSockets.tellLate() // whose handshake has ended meanwhile: closing the application may end it in its own words
  clearTimeout(timeUpTimer)
  webSockets.keepTelling(pollInterval, gone)
  atDeadline(deadline, gone, cutDetached)
  for (const release of releaseClose) release()
  logDrained()
  return report

  function beginHandover(): Handover | undefined {
    const { handover, relay, addressOf } = options
    if (handover === false || relay === undefined || options.reason() !== 'upgrade') return undefined
    const slowStart = handover === 'all'
    return prepareHandover(
      servers,
      { relay, addressOf, total, drainTimeout, slowStart, onReady: onHandoverReady },
      log
    )
  }

  function logDrained(): void {
    const { kinds } = report()
    const { finished, told, cut } = totalFate({ kinds })
    if (total === 0 || (first !== undefined && held(first) === 0 && told === 0)) return
    const ms = Math.round(performance.now() - start)
    log.info({ reason: options.reason(), ms, ...handover?.report, finished, told, cut, kinds }, 'drained')
  }

  async function sweep(): Promise<void> {
    announcement.renew()
    webSockets.tellLate()
    await look()
    if (finished) return
    const wait = Math.min(pause + (Math.random() * pause) / 10, deadline - performance.now())
    pending = setTimeout(() => void sweep(), wait)
    pause = Math.min(pause * 2, pollInterval)
  }

  function finish(): void {
    finished = true
    done()
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
      for (const [socket, state] of list.states(some)) {
        if (!mayEnd(server, socket, state)) consider(server, socket, state, true)
        else if (options.idleSpreadTime === false) closeLingering(socket)
      }
      some.clear()
    }
    lookTime = performance.now() - begun
    if (left === 0) finish()
  }

  /** Whether a connection is over: nothing is under way on it, and it neither moves nor is waited for. */
  function mayEnd(server: Server, socket: Socket, state: ConnectionState): boolean {
    const isOver = state === 'idle' || (state === 'fresh' && performance.now() - start >= freshTimeout)
    if (!isOver || handover?.isAway(socket)) return false
    if (options.reason() === 'close') return true
    return options.idleSpreadTime !== false && !(isMovable(server) && handover?.mayTake(socket))
  }

  function consider(server: Server, socket: Socket, state: ConnectionState, justIdle: boolean): void {
    if (options.reason() === 'close' || handover === undefined || !isMovable(server)) return
    if (state === 'idle' || state === 'fresh') handover.consider(server, socket, state, justIdle)
  }

  async function look(): Promise<void> {
    const counts = await goThroughAll()
    if (finished) return
    const now = performance.now()
    const ms = Math.round(now - start)
    const reason = options.reason()
    if (first === undefined) {
      first = counts
      if (held(counts) > 0) log.info({ reason, connections: counts }, 'draining')
    }
    if (held(counts) === 0) return finish()
    if (now >= deadline) {
      log.warn({ reason, ms, connections: counts }, 'drain timed out, cutting connections')
      cutAll()
      return finish()
    }
    if (now - logged >= logInterval) {
      logged = now
      log.info({ reason, ms, connections: counts }, 'draining')
    }
  }

  /** Ends or offers what it may, and lets requests be answered meanwhile, if it takes its time. */
  async function goThroughAll(): Promise<ConnectionCounts> {
    const counts = { fresh: 0, idle: 0, active: 0, detached: 0 }
    const ending = share()
    let turnEnd = performance.now() + longestTurn
    for (const [server, list] of connections) {
      for (const [socket, state] of list.states()) {
        tally.see(server, socket, state)
        if (!mayEnd(server, socket, state)) consider(server, socket, state, false)
        else if (Math.random() < ending) closeLingering(socket)
        counts[isLingering(socket) ? 'active' : state]++ // until it has closed
        if (performance.now() < turnEnd) continue
        await wholeTurn()
        if (finished) return counts
        turnEnd = performance.now() + longestTurn
      }
    }
    return counts
  }

  function cutAll(): void {
    sessions.cut()
    for (const list of connections.values()) {
      for (const [socket, state] of list.states()) {
        if (state === 'detached') continue
        tally.cut(socket)
        if (handover?.isAway(socket)) socket.destroy()
        else cut(socket)
      }
    }
  }

  function cutDetached(): void {
    const left = [...connections.values()].flatMap(({ sockets }) => [...sockets])
    if (left.length > 0)
      log.warn({ reason: options.reason(), detached: left.length }, 'cutting detached connections')
    for (const socket of left) {
      tally.cut(socket)
      cut(socket)
    }
  }
}

function held({ fresh, idle, active }: { fresh: number; idle: number; active: number }): number {
  return fresh + idle + active
}

/** Not awaited, and not called if all are gone before. */
function atDeadline(deadline: number, gone: Promise<unknown>, call: () => void): void {
  const timer = setTimeout(call, Math.max(deadline - performance.now(), 0))
  void gone.then(() => clearTimeout(timer))
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
