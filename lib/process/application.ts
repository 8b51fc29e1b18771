import type { Server } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { connectionsOf, countConnections } from '../connections/connections.js'
import type { ConnectionCounts } from '../connections/state.js'
import type { HoldUp } from '../drain/hold-up.js'
import { holdUpsOf } from '../drain/hold-ups.js'
import type { DrainReason, DrainReport } from '../drain/report.js'
import type { Relay } from '../handover/offer.js'
import type { Listeners } from '../listeners/listeners.js'
import { defaultOptions, type ResolvedOptions } from '../options.js'
import type { OwnListeners } from '../signals/own-listeners.js'
import { createDeparture, type Departure } from './departure.js'
import type { Instance } from './instance.js'
import { beginWayOut, serversOf, type WayOut } from './way-out.js'

/** How a generation goes. */
export interface Ending {
  /** Takes its connections to the next one. */
  readonly relay?: Relay
  /** They go as fast as they can. */
  readonly isUrgent?: boolean | undefined
  /** Waited for before the first instance is closed. */
  readonly onDrained?: (() => Promise<void>) | undefined
}

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
  /** Where the connections of an instance go that closes itself, while other workers serve on; undefined where there are none. */
  siblings: Relay | undefined
  /** Of whatever listens in this process. */
  connections(): ConnectionCounts
  /** What its drain waits for, if it has begun. */
  heldUpBy(): readonly HoldUp[]
  add(instance: Instance): void
  remove(instance: Instance): void
  /**
   * Drains every server of the process, and when the last request of all is answered closes every instance, so
   * that an `onClose` hook of one never pulls something away from under a request of another.
   * Idempotent; a second reason hurries it. Resolves with the exit code that follows: 1, and a line in the log, if a
   * hook fails or `closeTimeout` passes. The application's own listeners for signals have as much time.
   */
  end(reason: DrainReason, how?: Ending): Promise<0 | 1>
  /**
   * `close()` of an instance, whoever calls it: by itself it drains; while the process ends, or makes way for the next
   * generation, it joins in that, and waits like `end()` for the last request of all.
   */
  drainBeforeClose(instance: Instance): Promise<void>
  /** What has become of its connections, once all drains are over. */
  report(): DrainReport | null
}

export function createApplication(listeners: Listeners, own: OwnListeners): Application {
  const instances = new Set<Instance>()
  let first: Instance | undefined
  /** Of the whole application, once it has begun. */
  let wayOut: WayOut | undefined

  return {
    instances,
    siblings: undefined,
    get options() {
      return options()
    },
    get log() {
      return log()
    },
    get endTimeout() {
      return (
        Math.max(...[...instances].map(({ options }) => options.drainTimeout), 0) + options().closeTimeout
      )
    },
    get ending() {
      return wayOut !== undefined
    },
    connections: () => countConnections([...servers()].map(connectionsOf)),
    heldUpBy: () => holdUpsOf(servers()),
    add(instance) {
      if (instances.size === 0 && wayOut === undefined) first = instance
      instances.add(instance)
    },
    remove(instance) {
      instances.delete(instance)
      own.somethingEnded()
    },
    end,
    async drainBeforeClose(instance) {
      await instance.drain(wayOut?.departure ?? byItself(this.siblings))
      await wayOut?.drained // it may have begun meanwhile
    },
    report: () => wayOut?.report() ?? null
  }

  function byItself(siblings: Relay | undefined): Departure {
    return siblings === undefined ? createDeparture('close') : createDeparture('upgrade', siblings)
  }

  /** Those that listen, and those that have, in a drain. */
  function servers(): Set<Server> {
    return new Set([...serversOf(listeners), ...[...instances].flatMap(instance => instance.servers())])
  }

  function options(): ResolvedOptions {
    return first?.options ?? defaultOptions
  }

  function log(): FastifyBaseLogger {
    if (first === undefined) throw new Error('no instance has registered the plugin')
    return first.app.log
  }

  function end(reason: DrainReason, { relay, isUrgent, onDrained }: Ending = {}): Promise<0 | 1> {
    if (wayOut === undefined) {
      const leaving = { instances: [...instances], listeners, own, options: options(), log: log() }
      wayOut = beginWayOut(createDeparture(reason, relay, isUrgent), leaving, onDrained)
      return wayOut.ended
    }
    const { departure, ended } = wayOut
    departure.askedAgain(reason)
    if (reason === 'close') for (const instance of instances) void instance.drain(departure)
    return ended
  }
}
