import type { Server } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { connectionsOf } from '../connections/connections.js'
import { drain } from '../drain/drain.js'
import { type DrainReport, sumReports } from '../drain/report.js'
import type { Listeners } from '../listeners/listeners.js'
import type { ResolvedOptions } from '../options/given.js'
import type { OwnListeners } from '../signals/own-listeners.js'
import { createDeferred } from '../time/deferred.js'
import { wholeTurn } from '../time/event-loop.js'
import type { Departure } from './departure.js'
import type { Instance } from './instance.js'

/** The end of all that listens in this process: it drains, is closed, and the application's own listeners have their time. */
export interface WayOut {
  readonly departure: Departure
  /** Resolves when the last request of all is answered. */
  readonly drained: Promise<void>
  /** Resolves with the exit code: 1, and a line in the log, if closing fails or takes too long. */
  readonly ended: Promise<0 | 1>
  /** What has become of its connections, once all drains are over. */
  report(): DrainReport | null
}

/** What goes. */
export interface Leaving {
  readonly instances: readonly Instance[]
  readonly listeners: Listeners
  readonly own: OwnListeners
  /** For what is no instance's. */
  readonly options: ResolvedOptions
  readonly log: FastifyBaseLogger
}

/** @param onDrained waited for before the first instance is closed */
export function beginWayOut(
  departure: Departure,
  leaving: Leaving,
  onDrained: (() => Promise<void>) | undefined
): WayOut {
  const { instances, listeners, own, options, log } = leaving
  const drainTimeouts = instances.map(instance => instance.options.drainTimeout)
  const deadline = performance.now() + Math.max(...drainTimeouts, options.drainTimeout)
  let reports: readonly (() => DrainReport)[] = []
  if (departure.reason === 'upgrade') listeners.handOver()
  const owned = new Set(instances.flatMap(instance => instance.servers()))
  const others = serversOf(listeners).filter(server => !owned.has(server))
  const drained = drainAll()
  const ended = drained.then(closeAll).then(
    () => 0 as const,
    error => {
      log.error({ err: error }, 'closing the application failed')
      return 1 as const
    }
  )
  return { departure, drained, ended, report: () => sumReports(reports.map(report => report())) ?? null }

  async function drainAll(): Promise<void> {
    const { relay, isUrgent } = departure
    const reason = () => departure.reason
    const rest = { ...options, reason, relay, isUrgent, addressOf: listeners.addressOf, log }
    reports = await Promise.all([
      ...instances.map(instance => instance.drain(departure)),
      drain(others, rest)
    ])
  }

  async function closeAll(): Promise<void> {
    const { closeTimeout } = options
    own.somethingEnded()
    await onDrained?.()
    // What closes the application itself may take its listeners off; what that leaves comes behind it.
    const closes = instances.some(({ options }) => options.close !== false)
    const begun = performance.now()
    const lastGone = closes ? () => begun : releaseWhenGone([...owned, ...others], own)
    const closing = Promise.all([...instances.map(closeInstance), ...others.map(closeServer)])
    // Detached connections may hold a server open until the drain's own deadline.
    const left = Math.max(deadline - performance.now(), 0) + closeTimeout
    try {
      await withTimeout(closing, left, `onClose hooks took longer than closeTimeout (${closeTimeout} ms)`)
      if (closes) own.release()
    } finally {
      own.allEnded()
      const reason = `the application's own listeners took longer than closeTimeout (${closeTimeout} ms)`
      await withTimeout(own.done(), lastGone() + closeTimeout - performance.now(), reason).catch(error =>
        log.warn({ err: error }, 'not waiting any longer')
      )
    }
    // A server is closed before its last socket has emitted 'close', which comes at the end of the same turn: what the
    // application does then, of a WebSocket that has ended, shall not be lost with the process.
    await wholeTurn()
  }
}

export function serversOf(listeners: Listeners): Server[] {
  return listeners.live().map(({ server }) => server)
}

/**
 * What would end the process in its own time waits for detached connections, too; but closing may be what ends them.
 * @returns when the last one has gone, or else when this began
 */
function releaseWhenGone(servers: readonly Server[], own: OwnListeners): () => number {
  let lastGone = performance.now()
  const sockets = servers.flatMap(server => [...connectionsOf(server).sockets])
  if (sockets.length === 0) own.release()
  else
    void Promise.all(sockets.map(socket => new Promise(resolve => socket.once('close', resolve)))).then(
      () => {
        lastGone = performance.now()
        own.release()
      }
    )
  return () => lastGone
}

/** `close()` waits for the boot, which may take as long as a database; nothing of it serves yet that would be lost. */
async function closeInstance(instance: Instance): Promise<void> {
  const { app, booted } = instance
  if (booted) return closeBooted(instance)
  app.close().then(undefined, () => {})
}

/** `close` has nothing to do where somebody closes it already. It need not close the instance; and if it fails that is closed, too. */
async function closeBooted({ app, options, isCloseCalled }: Instance): Promise<void> {
  try {
    if (options.close !== false && !isCloseCalled) await options.close()
  } finally {
    await app.close()
  }
}

function closeServer(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()))
}

function withTimeout(promise: Promise<unknown>, ms: number, message: string): Promise<void> {
  const { promise: done, resolve, reject } = createDeferred()
  const timer = setTimeout(() => reject(new Error(message)), ms)
  promise.then(() => resolve(), reject).finally(() => clearTimeout(timer))
  return done
}
