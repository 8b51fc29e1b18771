import type { Server } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { type ConnectionCounts, connectionsOf, countConnections } from './connections.js'
import { type DrainReason, drain } from './drain.js'
import { type DrainReport, sumReports } from './drain-report.js'
import type { Ending, Generation } from './generation.js'
import type { Instance } from './instance.js'
import type { Listeners } from './listeners.js'
import { defaultOptions, type ResolvedOptions } from './options.js'
import type { Relay } from './protocol.js'
import { readTicketKeys } from './ticket-keys.js'
import { wholeTurn } from './whole-turn.js'

/** The generation that runs in this very process: its Fastify instances, and whatever else listens in it. */
export interface Application {
  readonly instances: ReadonlySet<Instance>
  /** Of the instance that came first, also when it is closed: what is one per process follows its options. */
  readonly options: ResolvedOptions
  readonly log: FastifyBaseLogger
  /** Longest time that `end()` takes, in milliseconds: the longest drain of its instances, and what comes after. */
  readonly endTimeout: number
  /** Whether `end()` has been called. */
  readonly ending: boolean
  /** Whether an upgrade of this generation is under way. */
  upgrading: boolean
  /** Of whatever listens in this process. */
  connections(): ConnectionCounts
  add(instance: Instance): void
  remove(instance: Instance): void
  /**
   * Drains every server of the process, and when the last request of all is answered closes every instance, so
   * that an `onClose` hook of one never pulls something away from under a request of another.
   * Idempotent; a second reason hurries it. Resolves with the exit code that follows: 1, and a line in the log, if a
   * hook fails or `closeTimeout` passes.
   */
  end(reason: DrainReason, relay?: Relay): Promise<0 | 1>
  /** What has become of its connections, once all drains are over. */
  report(): DrainReport | null
}

export function createApplication(listeners: Listeners): Application {
  const instances = new Set<Instance>()
  let first: Instance | undefined
  let ended: Promise<0 | 1> | undefined
  let upgrading = false
  let reason: DrainReason = 'upgrade'
  let reports: readonly (() => DrainReport)[] = []

  return {
    instances,
    get options() {
      return first?.options ?? defaultOptions
    },
    get log() {
      return log()
    },
    get endTimeout() {
      return longestDrain() + (first?.options ?? defaultOptions).closeTimeout
    },
    get ending() {
      return ended !== undefined
    },
    get upgrading() {
      return upgrading
    },
    set upgrading(value) {
      upgrading = value
      listeners.upgrading(value)
    },
    connections() {
      const draining = [...instances].flatMap(instance => instance.servers())
      const servers = new Set([...listeners.live().map(({ server }) => server), ...draining])
      return countConnections([...servers].map(connectionsOf))
    },
    add(instance) {
      if (instances.size === 0 && ended === undefined) first = instance
      instances.add(instance)
    },
    remove(instance) {
      instances.delete(instance)
    },
    end(given, relay) {
      if (reason !== 'close') reason = given
      if (ended !== undefined && given === 'close')
        for (const instance of instances) void instance.drain('close')
      ended ??= end(relay).then(
        () => 0,
        error => {
          log().error({ err: error }, 'closing the application failed')
          return 1
        }
      )
      return ended
    },
    report: () => sumReports(reports.map(report => report())) ?? null
  }

  function longestDrain(): number {
    return Math.max(...[...instances].map(({ options }) => options.drainTimeout), 0)
  }

  function log(): FastifyBaseLogger {
    if (first === undefined) throw new Error('no instance has registered the plugin')
    return first.app.log
  }

  async function end(relay: Relay | undefined): Promise<void> {
    const options = first?.options ?? defaultOptions
    const { closeTimeout } = options
    const deadline = performance.now() + Math.max(longestDrain(), options.drainTimeout)
    if (reason === 'upgrade') listeners.handOver()
    const members = [...instances]
    const owned = new Set(members.flatMap(instance => instance.servers()))
    const others = listeners
      .live()
      .map(({ server }) => server)
      .filter(server => !owned.has(server))

    reports = await Promise.all([
      ...members.map(instance => instance.drain(reason, relay)),
      drain(others, { ...options, reason: () => reason, relay, addressOf: listeners.addressOf, log: log() })
    ])
    const closing = Promise.all([...members.map(closeInstance), ...others.map(closeServer)])
    // Detached connections may hold a server open until the drain's own deadline.
    const left = Math.max(deadline - performance.now(), 0) + closeTimeout
    await withTimeout(closing, left, `onClose hooks took longer than closeTimeout (${closeTimeout} ms)`)
    // A server is closed before its last socket has emitted 'close', which comes at the end of the same turn: what the
    // application does then, of a WebSocket that has ended, shall not be lost with the process.
    await wholeTurn()
  }
}

/** The application as a master in the same process knows it. */
export function generationHere(
  number: number,
  application: Application,
  listeners: Listeners,
  relay: Relay
): Generation {
  let resolve: (ending: Ending) => void = () => {}
  const ended = new Promise<Ending>(settle => {
    resolve = settle
  })
  return {
    number,
    pid: process.pid,
    ready: Promise.resolve([]),
    ended,
    dying: new Promise(() => {}), // the process ends with it
    listeners: () => listeners.open(),
    connections: async () => application.connections(),
    ticketKeys: async () => readTicketKeys(listeners.live()),
    serve() {},
    upgrading(value) {
      application.upgrading = value
    },
    async retire() {
      const ending = await end('upgrade')
      return { ...ending, report: application.report() }
    },
    close: () => end('close'),
    adopt: async () => 'unavailable', // a generation never follows on one that runs elsewhere
    kill() {}, // who asks for it ends the process
    release() {}
  }

  async function end(reason: DrainReason): Promise<Ending> {
    const ending = { code: await application.end(reason, relay), signal: null }
    resolve(ending)
    return ending
  }
}

/** `close()` waits for the boot, which may take as long as a database; nothing of it serves yet that would be lost. */
async function closeInstance({ app, booted }: Instance): Promise<void> {
  const closed = app.close()
  if (booted) await closed
  else closed.then(undefined, () => {})
}

function closeServer(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()))
}

function withTimeout(promise: Promise<unknown>, ms: number, message: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(message)), ms)
    promise.then(() => resolve(), reject).finally(() => clearTimeout(timer))
  })
}
