import type { Server } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { connectionsOf, countConnections } from '../connections/connections.js'
import type { ConnectionCounts } from '../connections/state.js'
import type { HoldUp } from '../drain/hold-up.js'
import { holdUpsOf } from '../drain/hold-ups.js'
import type { DrainReason, DrainReport } from '../drain/report.js'
import type { Relay } from '../handover/offer.js'
import type { Listeners } from '../listeners/listeners.js'
import type { ResolvedOptions } from '../options/given.js'
import { defaultOptions } from '../options.js'
import type { EndTimes } from '../protocol/end-times.js'
import { tellDelay } from '../signals/on-close.js'
import type { OwnListeners } from '../signals/own-listeners.js'
import { createCloseDelay } from './close-delay.js'
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
  /** How long its end may take. */
  readonly times: Required<EndTimes>
  /** A signal has ended it, and it serves on for `closeDelay`. */
  readonly isClosing: boolean
  /** Resolves when that is over; undefined where it doesn't. */
  readonly untilDrain: Promise<unknown> | undefined
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
   * What a signal asks for: it serves on for `closeDelay`, if anything listens, and ends then as by `end('close')`. Idempotent.
   * @param onDrain called when the drain begins, if it hasn't
   */
  close(onDrain?: () => void): Promise<0 | 1>
  /** A second signal: no delay any more. @returns whether one was under way */
  hurry(): boolean
  /**
   * `close()` of an instance, whoever calls it: by itself it drains; while the process ends, or makes way for the next
   * generation, it joins in that, and waits like `end()` for the last request of all; so it does where the end has yet to begin.
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
  const delay = createCloseDelay(() => [
    ...new Set([...serversOf(listeners), ...[...instances].flatMap(instance => instance.servers())])
  ])
  /** A signal has ended it: resolves when the delay is over. */
  let delayed: Promise<WayOut> | undefined

  return {
    instances,
    siblings: undefined,
    get options() {
      return options()
    },
    get log() {
      return log()
    },
    get times() {
      return times()
    },
    get isClosing() {
      return delay.isUnderWay
    },
    get untilDrain() {
      return delay.isUnderWay ? delayed : undefined
    },
    get ending() {
      return wayOut !== undefined
    },
    connections: () => countConnections([...servers()].map(connectionsOf)),
    heldUpBy: () => holdUpsOf(servers()),
    add(instance) {
      if (instances.size === 0 && wayOut === undefined) first = instance
      instances.add(instance)
      if (instance.options.close !== false) own.holdAll()
    },
    remove(instance) {
      instances.delete(instance)
      own.somethingEnded()
    },
    end,
    close,
    hurry: delay.skip,
    async drainBeforeClose(instance) {
      if (delayed !== undefined) await delayed
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

  function times(): Required<EndTimes> {
    const { closeTimeout, closeSignals, closeDelay: asked } = options()
    const drainTimeout = Math.max(...[...instances].map(({ options }) => options.drainTimeout), 0)
    const closeDelay = closeSignals === false ? 0 : asked
    return { closeDelay, endTimeout: closeDelay + drainTimeout + closeTimeout }
  }

  function close(onDrain = () => {}): Promise<0 | 1> {
    const { closeDelay } = times()
    const lingers = closeDelay > 0 && isListening()
    if (wayOut === undefined && (delayed !== undefined || lingers)) {
      delayed ??= linger(closeDelay, onDrain)
      return delayed.then(({ ended }) => ended)
    }
    const ended = end('close')
    onDrain()
    return ended
  }

  /** What has begun by its end may be an upgrade, which shall stay one. */
  async function linger(closeDelay: number, onDrain: () => void): Promise<WayOut> {
    const over = delay.begin(closeDelay)
    if (delay.isUnderWay) tellDelay(log(), { closeDelay })
    await over
    if (wayOut !== undefined) return wayOut
    const begun = begin('close')
    onDrain()
    return begun
  }

  function isListening(): boolean {
    return serversOf(listeners).some(({ listening }) => listening)
  }

  function end(reason: DrainReason, how?: Ending): Promise<0 | 1> {
    delay.skip()
    if (wayOut === undefined) return begin(reason, how).ended
    const { departure, ended } = wayOut
    departure.askedAgain(reason)
    if (reason === 'close') for (const instance of instances) void instance.drain(departure)
    return ended
  }

  function begin(reason: DrainReason, { relay, isUrgent, onDrained }: Ending = {}): WayOut {
    const leaving = { instances: [...instances], listeners, own, options: options(), log: log() }
    wayOut = beginWayOut(createDeparture(reason, relay, isUrgent), leaving, onDrained)
    return wayOut
  }
}
