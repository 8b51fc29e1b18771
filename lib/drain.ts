import net, { type Server, type Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { connectionsOf, countConnections } from './connections.js'
import { announceClose } from './drain-http1.js'

/** Why a generation is on its way out: a next one serves, or nobody follows. */
export type DrainReason = 'upgrade' | 'close'

export interface DrainOptions {
  readonly reason: DrainReason
  /** Longest pause between two sweeps, in milliseconds. */
  readonly pollInterval: number
  /** Longest time of the whole drain, in milliseconds. */
  readonly drainTimeout: number
  readonly log: FastifyBaseLogger
}

/** A connection on which nothing has come after this time counts as idle (milliseconds), as in Go. */
const freshTimeout = 5_000
/** Pause between two log lines about the same drain, in milliseconds. */
const logInterval = 5_000
/** Time in which connections that end are gathered for one look, in milliseconds. */
const settleTime = 2
/** Time between FIN and the hard close of a connection that is left at the deadline, in milliseconds. */
const cutDelay = 100

/**
 * Stops accepting, lets requests finish, and ends what is idle: Go's `http.Server.Shutdown`, with its schedule
 * of sweeps. On the way to an upgrade an idle connection is not closed, as its next request may be on its way:
 * it is served once more and carries `Connection: close`.
 *
 * Resolves when no HTTP connection is left. Detached ones don't hold it up, as in Go; but they too are cut at
 * the deadline, so that a `close()` that waits for them ends. Never rejects.
 */
export async function drain(servers: readonly Server[], options: DrainOptions): Promise<void> {
  const { reason, pollInterval, drainTimeout, log } = options
  const start = performance.now()
  const deadline = start + drainTimeout
  const connections = new Map(servers.map(server => [server, connectionsOf(server)] as const))
  const releaseClose = servers.map(holdClose)
  const closed = Promise.all(servers.map(stopAccepting))

  const total = countConnections(connections.values())
  if (held(total) > 0) log.info({ reason, connections: total }, 'draining')

  const { promise: looked, resolve: done } = withResolvers()
  let pending: NodeJS.Timeout | undefined
  let soon: NodeJS.Timeout | undefined
  let pause = 1
  let logged = start
  const stopAnnouncing = announceClose(connections, lookSoon)
  for (const { sockets } of connections.values()) {
    for (const socket of sockets) socket.once('close', lookSoon)
  }
  sweep()
  await looked
  clearTimeout(pending)
  clearTimeout(soon)
  stopAnnouncing()
  cutDetachedAtDeadline()
  for (const release of releaseClose) release()

  function sweep(): void {
    clearTimeout(pending)
    look()
    pending = setTimeout(sweep, Math.min(pause + (Math.random() * pause) / 10, deadline - performance.now()))
    pause = Math.min(pause * 2, pollInterval)
  }

  /** A response has ended or a connection has gone: many may at once, so one look serves them all. */
  function lookSoon(): void {
    soon ??= setTimeout(() => {
      soon = undefined
      look()
    }, settleTime)
  }

  function look(): void {
    const now = performance.now()
    const counts = { fresh: 0, idle: 0, active: 0, detached: 0 }
    for (const list of connections.values()) {
      for (const [socket, state] of list) {
        if (reason === 'close' && (state === 'idle' || (state === 'fresh' && now - start >= freshTimeout))) {
          socket.destroySoon()
        } else {
          counts[state]++
        }
      }
    }
    if (held(counts) === 0) return done()
    if (now >= deadline) {
      log.warn(
        { reason, ms: Math.round(now - start), connections: counts },
        'drain timed out, cutting connections'
      )
      for (const list of connections.values()) {
        for (const [socket, state] of list) if (state !== 'detached') cut(socket)
      }
      return done()
    }
    if (now - logged >= logInterval) {
      logged = now
      log.info({ reason, ms: Math.round(now - start), connections: counts }, 'draining')
    }
  }

  /** Not awaited: it ends with the last connection, or at the deadline. */
  function cutDetachedAtDeadline(): void {
    const timer = setTimeout(
      () => {
        const left = [...connections.values()].flatMap(({ sockets }) => [...sockets])
        if (left.length > 0) log.warn({ reason, detached: left.length }, 'cutting detached connections')
        for (const socket of left) cut(socket)
      },
      Math.max(deadline - performance.now(), 0)
    )
    closed.then(() => clearTimeout(timer)).catch(() => {})
  }
}

function held({ fresh, idle, active }: { fresh: number; idle: number; active: number }): number {
  return fresh + idle + active
}

/** FIN first, so that a client sees an end rather than a reset; then the hard close. */
function cut(socket: Socket): void {
  socket.end()
  setTimeout(() => socket.destroy(), cutDelay)
}

/**
 * `http.Server#close()` would destroy responses that are not flushed yet, and stop the timer behind
 * `headersTimeout` and `requestTimeout`; net's only stops accepting. Whoever closes the server properly later
 * makes it emit 'close' once more.
 * @returns resolves when the last connection that it accepted itself has gone
 */
function stopAccepting(server: Server): Promise<void> {
  return new Promise(resolve => {
    if (!server.listening) return resolve()
    server.once('close', () => resolve())
    net.Server.prototype.close.call(server)
  })
}

/**
 * While a server drains, its own `close()` waits, whoever calls it. Fastify closes its second server for
 * `localhost` the moment the first one has no connection left, not knowing of requests on the second.
 * @returns a function that makes up for the calls
 */
function holdClose(server: Server): () => void {
  const calls: ((error?: Error) => void)[] = []
  const own = Object.getOwnPropertyDescriptor(server, 'close')
  Object.defineProperty(server, 'close', {
    configurable: true,
    writable: true,
    value(this: Server, callback: (error?: Error) => void = () => {}) {
      calls.push(callback)
      return this
    }
  })
  return function release() {
    if (own) Object.defineProperty(server, 'close', own)
    else delete (server as Partial<Server>).close
    for (const callback of calls) server.close(callback)
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {}
  const promise = new Promise<void>(settle => {
    resolve = settle
  })
  return { promise, resolve }
}
