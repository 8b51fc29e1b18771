import { channel } from 'node:diagnostics_channel'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { ConnectionCounts } from './connections/state.js'
import type { Status } from './control/messages.js'
import { GracefulUpgradeError } from './errors.js'
import { drainBeforeClose, isOneServer, onCloseCalled, serverOption } from './internals/fastify.js'
import { createKeeper, type Keeper } from './kept/keep.js'
import type { GracefulUpgradeOptions } from './options/given.js'
import { refuseSupervision } from './options/supervised.js'
import { optionsOfEnvironment, resolveOptions } from './options.js'
import type { DrainHook } from './process/drain-hooks.js'
import { createInstance } from './process/instance.js'
import * as thisProcess from './process/this-process.js'
import type { UpgradeResult } from './protocol/upgrade-result.js'
import { registration } from './registration.js'

export type { CheckRequest } from './check.js'
export type { ConnectionCounts, ConnectionState } from './connections/state.js'
export type { GenerationStatus, Status, UpgradeRecord, WorkerStatus } from './control/messages.js'
export type { HoldUp } from './drain/hold-up.js'
export type { DrainReason, DrainReport } from './drain/report.js'
export { type ErrorCode, GracefulUpgradeError } from './errors.js'
export type { KeepableConnection, KeepableRequest, KeepOptions } from './kept/keep.js'
export type { Kept } from './kept/kept.js'
export type { GracefulUpgradeOptions } from './options/given.js'
export type { DrainHook } from './process/drain-hooks.js'
export type { UpgradeResult } from './protocol/upgrade-result.js'

/** What a generation is doing, as `fastify.gracefulUpgrade.state` tells it. */
export type GracefulUpgradeState =
  | 'starting'
  | 'probation'
  | 'serving'
  | 'upgrading'
  | 'closing'
  | 'draining'
  | 'closed'

/** The decorator `fastify.gracefulUpgrade`. */
export interface GracefulUpgrade extends Keeper {
  /** The number of this run of the application's code: 1, 2, 3 … */
  readonly generation: number
  /** 'closing': a signal has ended it, and it serves on for `closeDelay`. */
  readonly state: GracefulUpgradeState
  /**
   * What a readiness probe answers: whether requests shall come. Not before it listens, and not from when a signal ends it, so as soon as
   * `closeDelay` begins, or `app.close()` does; but in every moment of an upgrade, in both generations.
   */
  readonly isReady: boolean
  /**
   * Which worker of this generation this process is, from 0 on; one that takes another's place has the same. 0 where there
   * is only one.
   */
  readonly worker: number
  /** How many workers this generation has: as many as `--workers` says. */
  readonly workers: number
  /** Aborted when this generation starts to drain; the reason is 'upgrade' or 'close'. */
  readonly signal: AbortSignal
  /**
   * Adds a hook that runs when this generation starts to drain, to say goodbye on connections that stay open: event
   * streams, long polls, WebSockets. It may be async: WebSockets are told only when all hooks are done. Once the drain
   * has begun it runs at once. It is given the reason, and a function that says of a connection whether it moves.
   * @returns takes it off: for one that belongs to a single request
   */
  onDrain(hook: DrainHook): () => void
  /**
   * Adds a hook that runs once, when this generation serves and the one before it has begun to drain: what only one may do
   * starts here, in worker 0, and stops on `signal`. It runs at once if it is so already, and never if this generation
   * drains before.
   * @returns takes it off
   */
  onServe(hook: () => unknown): () => void
  /** How many connections of this instance are in which state. */
  connections(): ConnectionCounts
  /**
   * What the reload signal does. Resolves when the next generation serves and this one begins to drain, after its probation if
   * it has one. Rejects with a GracefulUpgradeError; this generation then serves on.
   */
  upgrade(): Promise<UpgradeResult>
  /**
   * Ends the probation of the generation that is on it, be it this one, before its time is over: it is good. Resolves when it serves alone.
   * Rejects with GRACEFUL_UPGRADE_NO_PROBATION, or with GRACEFUL_UPGRADE_ROLLED_BACK if it fails yet.
   */
  confirm(): Promise<void>
  /**
   * The same, but it is taken back. Resolves when that has begun.
   * @param reason for the log, and for whoever has asked for the upgrade
   */
  rollback(reason: string): Promise<void>
  /**
   * What the whole service is doing, whichever process is asked: what `graceful-upgrade status --json` prints. Without a master
   * (before it listens, or where another worker has become the master) it is this process alone. Rejects with
   * GRACEFUL_UPGRADE_MASTER_LOST if the master doesn't answer.
   */
  status(): Promise<Status>
  /** The same as metrics, for Prometheus: `application/openmetrics-text; version=1.0.0; charset=utf-8`. */
  metrics(): Promise<string>
  /**
   * Says that this generation listens on all that it wants, so that nobody waits for `claimTimeout`. Where the server
   * of this instance never listens, as another one feeds it, this is what `listen()` is elsewhere: it serves now.
   */
  ready(): void
}

declare module 'fastify' {
  interface FastifyInstance {
    readonly gracefulUpgrade: GracefulUpgrade
  }
}

/** Each option as it may be, and `never` for one that there isn't. */
type Checked<Options> = Options extends { readonly gracefulUpgrade: infer Given }
  ? {
      readonly gracefulUpgrade: {
        readonly [Name in keyof Given]: Name extends keyof GracefulUpgradeOptions
          ? GracefulUpgradeOptions[Name]
          : never
      }
    }
  : unknown

/**
 * Types `Fastify(serverOptions({ gracefulUpgrade: { … } }))`: Fastify's own type for its options is closed.
 * @returns its argument
 */
export function serverOptions<Options extends Given & { readonly http2: true }>(
  options: Options & Checked<Options>
): Options & Known

export function serverOptions<Options extends Given>(options: Options & Checked<Options>): Options & Known

export function serverOptions<Options extends Given>(options: Options): Options & Known {
  return options
}

interface Given {
  readonly gracefulUpgrade?: GracefulUpgradeOptions
}

/** A key that Fastify knows: TypeScript takes an object that has none of the keys in question for a mistake. */
interface Known {
  readonly pluginTimeout?: number
}

const plugin: FastifyPluginAsync<GracefulUpgradeOptions> = async (app: FastifyInstance, given) => {
  const others = [...thisProcess.application.instances]
  if (app.hasDecorator('gracefulUpgrade') || others.some(other => isOneServer(other.app, app)))
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_ALREADY_REGISTERED')
  if (!thisProcess.isWorker) refuseSupervision(process.env)
  const environment = optionsOfEnvironment(process.env)
  if (thisProcess.application.instances.size > 0) delete environment.check // others may have no such route
  const options = resolveOptions(serverOption(app), given, environment)
  const instance = createInstance(app, options, thisProcess.listeners)
  channel(registration).publish(app)

  app.decorate('gracefulUpgrade', {
    generation: thisProcess.generation,
    get state() {
      return instance.state === 'serving' ? thisProcess.servingState() : instance.state
    },
    get isReady() {
      return thisProcess.isReady(instance)
    },
    worker: thisProcess.team.worker,
    get workers() {
      return thisProcess.team.workers
    },
    signal: instance.signal,
    onDrain: instance.onDrain,
    onServe: hook => instance.onServe(thisProcess.servesAlone, hook),
    ...createKeeper(app.log),
    connections: instance.connections,
    upgrade: thisProcess.upgrade,
    confirm: () => thisProcess.judge('confirm', 'the application has confirmed it'),
    rollback: reason => thisProcess.judge('rollback', String(reason)),
    status: () => thisProcess.inquire('status') as Promise<Status>,
    metrics: () => thisProcess.inquire('metrics') as Promise<string>,
    ready: () => thisProcess.declareReady(instance)
  })

  thisProcess.add(instance)
  app.addHook('onReady', async () => {
    onCloseCalled(app, () => thisProcess.closeCalled(instance))
    drainBeforeClose(app, () => thisProcess.application.drainBeforeClose(instance))
    thisProcess.booted(instance)
  })
  app.addHook('onClose', async () => {
    instance.closed()
    thisProcess.remove(instance)
  })
}

/**
 * Upgrades the server to its new version on SIGHUP while it serves, and drains on every way out.
 * @throws GRACEFUL_UPGRADE_INVALID_OPTION, _ALREADY_REGISTERED at `register`
 */
export const gracefulUpgrade = fp(plugin, { name: 'fastify-graceful-upgrade', fastify: '5.x' })

export default gracefulUpgrade
