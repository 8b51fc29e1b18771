import { setMaxListeners } from 'node:events'
import type { Server } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { type ConnectionCounts, connectionsOf, countConnections } from './connections.js'
import { type DrainReason, drain } from './drain.js'
import type { DrainReport } from './drain-report.js'
import type { Listeners } from './listeners.js'
import type { ResolvedOptions } from './options.js'
import type { Relay } from './protocol.js'

/** What an application says goodbye with. */
export type DrainHook = (reason: DrainReason) => unknown

/** A Fastify instance that has registered the plugin, and the servers that are its own. */
export interface Instance {
  readonly app: FastifyInstance
  readonly options: ResolvedOptions
  readonly state: 'starting' | 'serving' | 'draining' | 'closed'
  /** Aborted when the drain begins; its reason is 'upgrade' or 'close'. */
  readonly signal: AbortSignal
  /**
   * Runs when the drain begins, or at once if it has; what it returns is waited for before WebSockets are told, at most
   * until the deadline.
   * @returns takes it off
   */
  onDrain(hook: DrainHook): () => void
  /** Whether the application has finished booting it. */
  booted: boolean
  servers(): Server[]
  connections(): ConnectionCounts
  /**
   * Idempotent: whoever comes second gets the drain that runs, which goes by its new reason from then on.
   * @param relay takes connections to the next generation
   * @returns what has become of the connections so far
   */
  drain(reason: DrainReason, relay?: Relay): Promise<() => DrainReport>
  /** To be called when `onClose` hooks run. */
  closed(): void
}

export function createInstance(
  app: FastifyInstance,
  options: ResolvedOptions,
  listeners: Listeners
): Instance {
  const controller = new AbortController()
  setMaxListeners(0, controller.signal) // one for each event stream; Node.js 20 warns of more than ten
  const hooks = new Set<{ readonly run: DrainHook }>()
  let drained: Promise<() => DrainReport> | undefined
  let drainedServers: Server[] = []
  let closed = false
  let reason: DrainReason = 'upgrade'

  return {
    app,
    options,
    get state() {
      if (closed) return 'closed'
      if (controller.signal.aborted) return 'draining'
      return app.server.listening ? 'serving' : 'starting'
    },
    signal: controller.signal,
    onDrain,
    booted: false,
    servers,
    connections: () => countConnections(servers().map(connectionsOf)),
    drain(given, relay) {
      if (reason !== 'close') reason = given
      drained ??= start(given, relay)
      return drained
    },
    closed() {
      closed = true
    }
  }

  function start(given: DrainReason, relay: Relay | undefined): Promise<() => DrainReport> {
    drainedServers = servers()
    controller.abort(given)
    const farewell = Promise.all([...hooks].map(({ run }) => runHook(run, given)))
    return drain(drainedServers, {
      ...options,
      reason: () => reason,
      relay,
      addressOf: listeners.addressOf,
      farewell,
      log: app.log
    })
  }

  function onDrain(run: DrainHook): () => void {
    if (controller.signal.aborted) {
      void runHook(run, controller.signal.reason)
      return () => {}
    }
    const hook = { run } // the same function may be added twice
    hooks.add(hook)
    return () => void hooks.delete(hook)
  }

  /** One that fails must not keep the others, nor the connections, from their end. */
  async function runHook(hook: DrainHook, given: DrainReason): Promise<void> {
    try {
      await hook(given)
    } catch (error) {
      app.log.error({ err: error }, 'an onDrain hook failed')
    }
  }

  /** The main server and the second one for `localhost`, which Fastify shows by its address alone. */
  function servers(): Server[] {
    if (controller.signal.aborted) return drainedServers // they have no address any more
    const addresses = new Set(app.addresses().map(address => JSON.stringify(address)))
    return listeners
      .live()
      .map(({ server }) => server)
      .filter(server => server === app.server || addresses.has(JSON.stringify(server.address())))
  }
}
