import { setMaxListeners } from 'node:events'
import { Server } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { connectionOf } from '../connections/connection.js'
import { connectionsOf, countConnections, markAsFront } from '../connections/connections.js'
import { followSessions } from '../connections/http2-sessions.js'
import type { ConnectionCounts } from '../connections/state.js'
import { drain } from '../drain/drain.js'
import type { DrainReason, DrainReport } from '../drain/report.js'
import { keptBy } from '../kept/kept.js'
import type { Listeners } from '../listeners/listeners.js'
import type { ResolvedOptions } from '../options/given.js'
import type { Departure } from './departure.js'
import { createDrainHooks, type DrainHook } from './drain-hooks.js'

/** A Fastify instance that has registered the plugin, and the servers that are its own. */
export interface Instance {
  readonly app: FastifyInstance
  readonly options: ResolvedOptions
  readonly state: 'starting' | 'serving' | 'draining' | 'closed'
  /** Why it drains, once it does; it may turn from 'upgrade' to 'close'. */
  readonly drainReason: DrainReason | undefined
  /** Aborted when the drain begins; its reason is 'upgrade' or 'close'. */
  readonly signal: AbortSignal
  /**
   * Runs when the drain begins, or at once if it has; what it returns is waited for before WebSockets are told, at most
   * until the deadline.
   * @returns takes it off
   */
  onDrain(hook: DrainHook): () => void
  /**
   * Runs once it serves alone, unless it drains by then.
   * @returns takes it off
   */
  onServe(servesAlone: Promise<void>, hook: () => unknown): () => void
  /** Whether the application has finished booting it. */
  booted: boolean
  /** Whether anybody has called its `close()`. */
  isCloseCalled: boolean
  servers(): readonly Server[]
  /** The application says that it serves, also where its server doesn't listen: another one in front feeds it then. */
  declareReady(): void
  connections(): ConnectionCounts
  /**
   * Idempotent: whoever comes second gets the drain that runs, which goes by the reason of both from then on.
   * @returns what has become of the connections so far
   */
  drain(departure: Departure): Promise<() => DrainReport>
  /** To be called in each call of any `fastify.close()`: a hook that calls it isn't waited for any more. */
  closeCalled(): void
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
  const hooks = createDrainHooks(controller.signal, moves, app.log)
  /** Once its drain has begun; the servers have no address any more then. */
  let leaving: { readonly departure: Departure; readonly servers: readonly Server[] } | undefined
  let drained: Promise<() => DrainReport> | undefined
  let declared = false
  let closed = false

  /** What a `serverFactory` returns may be anything. */
  const main = app.server instanceof Server ? app.server : undefined
  follow()
  return {
    app,
    options,
    get state() {
      if (closed) return 'closed'
      if (controller.signal.aborted) return 'draining'
      return app.server.listening || declared ? 'serving' : 'starting'
    },
    signal: controller.signal,
    onDrain: hooks.add,
    onServe,
    booted: false,
    isCloseCalled: false,
    get drainReason() {
      return leaving?.departure.reason
    },
    servers,
    declareReady,
    connections: () => countConnections(servers().map(connectionsOf)),
    drain(departure) {
      leaving?.departure.askedAgain(departure.reason)
      drained ??= begin(departure)
      return drained
    },
    closeCalled: hooks.closeCalled,
    closed() {
      closed = true
    }
  }

  function onServe(servesAlone: Promise<void>, hook: () => unknown): () => void {
    let isWanted = true
    servesAlone
      .then(() => (isWanted && !controller.signal.aborted ? hook() : undefined))
      .catch(error => app.log.error({ err: error }, 'an onServe hook failed'))
    return () => {
      isWanted = false
    }
  }

  /** From the beginning, as it may never listen. */
  function follow(): void {
    if (main === undefined) return
    connectionsOf(main)
    followSessions(main)
    markAsFront(main)
  }

  function declareReady(): void {
    declared = true
    if (!app.server.listening) for (const { server } of listeners.live()) markAsFront(server)
  }

  /** Whether one goes elsewhere, be it later; that it can't after all may turn out when it is its turn. */
  function moves(connection: object): boolean {
    const { reason, relay } = leaving?.departure ?? {}
    if (reason !== 'upgrade' || relay === undefined || options.handover === false) return false
    const kept = keptBy(connection)
    const server = kept && connectionOf(kept.socket).server
    if (kept?.phase !== 'here' || !kept.subject.isOpen()) return false
    return server !== undefined && listeners.addressOf(server) !== undefined
  }

  function begin(departure: Departure): Promise<() => DrainReport> {
    const { reason, relay, isUrgent } = departure
    leaving = { departure, servers: servers() }
    controller.abort(reason)
    const farewell = hooks.run(reason)
    const done = drain(leaving.servers, {
      ...options,
      reason: () => departure.reason,
      relay,
      isUrgent,
      addressOf: listeners.addressOf,
      requestIdHeader: app.initialConfig?.requestIdHeader,
      farewell,
      mayGetMore,
      log: app.log
    })
    void Promise.race([farewell, done]).then(hooks.over)
    return done
  }

  /**
   * The main server, also if it doesn't listen, and the second one for `localhost`, which Fastify shows by its address
   * alone.
   */
  function servers(): readonly Server[] {
    if (leaving !== undefined) return leaving.servers
    const addresses = new Set(app.addresses().map(address => JSON.stringify(address)))
    const others = listeners
      .live()
      .map(({ server }) => server)
      .filter(server => server !== main && addresses.has(JSON.stringify(server.address())))
    return main === undefined ? others : [main, ...others]
  }

  /** A server in front that accepts no more may have connections yet that it has not given on. */
  function mayGetMore(): boolean {
    for (const { server } of listeners.live()) {
      const connections = connectionsOf(server)
      if (!connections.isFront || server.listening) continue
      for (const [, state] of connections.states()) if (state !== 'detached') return true
    }
    return false
  }
}
