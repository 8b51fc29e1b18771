import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type { ConnectionCounts } from './connections.js'
import { drainBeforeClose, serverOption } from './fastify-internals.js'
import { createInstance, type DrainHook } from './instance.js'
import { type GracefulUpgradeOptions, optionsOfEnvironment, resolveOptions } from './options.js'
import type { UpgradeResult } from './protocol.js'
import * as thisProcess from './this-process.js'

export type { ConnectionCounts, ConnectionState } from './connections.js'
export type { DrainReason } from './drain.js'
export { type ErrorCode, GracefulUpgradeError } from './errors.js'
export type { DrainHook } from './instance.js'
export type { GracefulUpgradeOptions } from './options.js'
export type { UpgradeResult } from './protocol.js'

/** What a generation is doing, as `fastify.gracefulUpgrade.state` tells it. */
export type GracefulUpgradeState = 'starting' | 'serving' | 'upgrading' | 'draining' | 'closed'

/** The decorator `fastify.gracefulUpgrade`. */
export interface GracefulUpgrade {
  /** The number of this run of the application's code: 1, 2, 3 … */
  readonly generation: number
  readonly state: GracefulUpgradeState
  /** Aborted when this generation starts to drain; the reason is 'upgrade' or 'close'. */
  readonly signal: AbortSignal
  /**
   * Adds a hook that runs when this generation starts to drain, to say goodbye on connections that stay open: event
   * streams, long polls, WebSockets. It may be async: WebSockets are told only when all hooks are done. Once the drain
   * has begun it runs at once.
   * @returns takes it off: for one that belongs to a single request
   */
  onDrain(hook: DrainHook): () => void
  /** How many connections of this instance are in which state. */
  connections(): ConnectionCounts
  /**
   * What the reload signal does. Resolves when the next generation serves and this one begins to drain.
   * Rejects with a GracefulUpgradeError; this generation then serves on.
   */
  upgrade(): Promise<UpgradeResult>
  /** Says that this generation listens on all that it wants, so that nobody waits for `claimTimeout`. */
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
  const options = resolveOptions(serverOption(app), given, optionsOfEnvironment(process.env))
  const instance = createInstance(app, options, thisProcess.listeners)

  app.decorate('gracefulUpgrade', {
    generation: thisProcess.generation,
    get state() {
      return instance.state === 'serving' && thisProcess.application.upgrading ? 'upgrading' : instance.state
    },
    signal: instance.signal,
    onDrain: instance.onDrain,
    connections: instance.connections,
    upgrade: thisProcess.upgrade,
    ready: thisProcess.declareReady
  })

  thisProcess.add(instance)
  app.addHook('onReady', async () => {
    drainBeforeClose(app, async () => void (await instance.drain('close')))
    thisProcess.booted(instance)
  })
  app.addHook('onClose', async () => {
    instance.closed()
    thisProcess.remove(instance)
  })
}

/**
 * Upgrades the server to its new version on SIGHUP while it serves, and drains on every way out.
 * @throws GRACEFUL_UPGRADE_INVALID_OPTION at `register`
 */
export const gracefulUpgrade = fp(plugin, { name: 'fastify-graceful-upgrade', fastify: '5.x' })
export default gracefulUpgrade
