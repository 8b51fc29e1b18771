import type { CheckRequest } from '../check.js'

/** Given to `fastify.register(gracefulUpgrade, …)`, or as `Fastify({ gracefulUpgrade: … })`; the former win. */
export interface GracefulUpgradeOptions {
  /** Longest pause between two sweeps of a drain, in milliseconds; Go's `shutdownPollInterval`. @default 500 */
  readonly pollInterval?: number
  /** Longest time a drain waits for connections, in milliseconds; what is left then is cut. @default 30000 */
  readonly drainTimeout?: number
  /** Longest time the application's own `onClose` hooks may take after the drain, in milliseconds. @default 10000 */
  readonly closeTimeout?: number
  /**
   * For how long a server that a signal ends serves on before it drains, in milliseconds: whoever sends it requests takes some time to
   * stop. Its responses carry `Connection: close`. A second signal skips the rest. @default 0
   */
  readonly closeDelay?: number
  /**
   * What closes the application, in place of `app.close()`: what a framework on top of Fastify has for that, as NestJS. It is called when
   * the last request is answered, on an upgrade too, and may call `app.close()` itself. What it returns is waited for, at most for
   * `closeTimeout`. The application's own listeners for signals that end it are held back until then. @default false
   */
  readonly close?: (() => unknown) | false
  /** Longest time a new generation may take until it serves, in milliseconds. @default 60000 */
  readonly readyTimeout?: number
  /**
   * How long a new generation that listens waits for the inherited listeners that nobody has asked for yet,
   * in milliseconds; then they count as dropped by the new version. @default 5000
   */
  readonly claimTimeout?: number
  /**
   * What a new generation asks itself, by `inject()`, before it is ready: a path, or what `inject()` takes and the
   * `statusCode` that is expected; or an array of these. Each has to be answered, with a status from 200 to 299 if no other
   * is expected; else they are asked again each second, and after `readyTimeout` the generation has failed, with
   * `GRACEFUL_UPGRADE_CHECK_FAILED`. `false` for none. @default false
   */
  readonly check?: string | CheckRequest | readonly (string | CheckRequest)[] | false
  /** Longest time that one answer to `check` may take, in milliseconds; then it doesn't count. @default 5000 */
  readonly checkTimeout?: number
  /**
   * What becomes of open plain HTTP/1.1 connections on an upgrade. `'idle'`: the next generation gets those on
   * which nothing is under way, responses in flight carry `Connection: close`. `'all'`: responses in flight stay
   * keep-alive too, and their connections follow. `false`: each waits for one more request. @default 'idle'
   */
  readonly handover?: 'idle' | 'all' | false
  /**
   * Time over which WebSockets and HTTP/2 sessions are told to end, in milliseconds, so that their clients don't all come
   * again at one instant; at most `drainTimeout`. @default 1000
   */
  readonly spreadTime?: number
  /**
   * Time over which idle connections that don't move are ended, one after the other, in milliseconds; `false`: on an
   * upgrade each waits for one more request, its keep-alive time or the deadline, on a shutdown all end at once.
   * At most `drainTimeout`. @default false
   */
  readonly idleSpreadTime?: number | false
  /** The signal that upgrades; `false` for none. @default 'SIGHUP' */
  readonly reloadSignal?: NodeJS.Signals | false
  /**
   * The signals that drain and end the process, by close-with-grace, which then takes uncaught errors too;
   * `false` leaves both to the application. @default ['SIGTERM', 'SIGINT']
   */
  readonly closeSignals?: readonly NodeJS.Signals[] | false
  /**
   * The signal that the application's own listeners hear in a worker that makes way for the next generation, when its last
   * request is answered; `false` for none, if what they do is not to be done on an upgrade. @default 'SIGTERM'
   */
  readonly retireSignal?: NodeJS.Signals | false
  /**
   * For how long a new generation serves beside the one before it, on a share of its connections, in milliseconds. If it fails
   * meanwhile it is taken back. 0 for not at all. @default 0
   */
  readonly probation?: number
  /** That share, of the connections that can be handed over: from 0.01 to 1. @default 0.1 */
  readonly probationShare?: number
  /**
   * A generation on probation that answers more than this share of its requests with 5xx is taken back, from 0 to 1, from three of
   * them on; `false`: only if the one before it answers fewer, and chance doesn't explain that. @default false
   */
  readonly probationErrorRate?: number | false
  /**
   * The path of the Unix socket at which `graceful-upgrade reload` and the other commands find the master; `true` for
   * one that is derived from its pid, `false` for none. @default true
   */
  readonly controlSocket?: string | boolean
}

export type ResolvedOptions = Required<GracefulUpgradeOptions>
