import { constants } from 'node:os'
import { inspect } from 'node:util'
import { GracefulUpgradeError } from './errors.js'

/** Given to `fastify.register(gracefulUpgrade, …)`, or as `Fastify({ gracefulUpgrade: … })`; the former win. */
export interface GracefulUpgradeOptions {
  /** Longest pause between two sweeps of a drain, in milliseconds; Go's `shutdownPollInterval`. @default 500 */
  readonly pollInterval?: number
  /** Longest time a drain waits for connections, in milliseconds; what is left then is cut. @default 30000 */
  readonly drainTimeout?: number
  /** Longest time the application's own `onClose` hooks may take after the drain, in milliseconds. @default 10000 */
  readonly closeTimeout?: number
  /** Longest time a new generation may take until it serves, in milliseconds. @default 60000 */
  readonly readyTimeout?: number
  /**
   * How long a new generation that listens waits for the inherited listeners that nobody has asked for yet,
   * in milliseconds; then they count as dropped by the new version. @default 5000
   */
  readonly claimTimeout?: number
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
   * The path of the Unix socket at which `graceful-upgrade reload`, `status` and `stop` find the master; `true` for
   * one that is derived from its pid, `false` for none. @default true
   */
  readonly controlSocket?: string | boolean
}

export type ResolvedOptions = Required<GracefulUpgradeOptions>

export const defaultOptions: ResolvedOptions = {
  pollInterval: 500,
  drainTimeout: 30_000,
  closeTimeout: 10_000,
  readyTimeout: 60_000,
  claimTimeout: 5_000,
  handover: 'idle',
  spreadTime: 1_000,
  idleSpreadTime: false,
  reloadSignal: 'SIGHUP',
  closeSignals: ['SIGTERM', 'SIGINT'],
  controlSocket: true
}

/** Some 11 days, in milliseconds. The sum of two is timed too, and beyond 2 ** 31 - 1 setTimeout() fires at once. */
export const longestTime = 1_000_000_000
/** Those of close-with-grace that ask a process to end; the others of it mean that the process is broken. */
const graceSignals: readonly unknown[] = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR2', 'SIGHUP']
/** No process can listen for these, or Node.js and the debugger need them. */
const reservedSignals = new Set(['SIGKILL', 'SIGSTOP', 'SIGUSR1', 'SIGCHLD', 'SIGPROF'])

/** The variable of the environment that an option can come from: `GRACEFUL_UPGRADE_DRAIN_TIMEOUT`. */
export function variableOf(name: string): string {
  return `GRACEFUL_UPGRADE_${name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`
}

/** Options that are set in the environment, by whoever runs the application; they win over those in its code. */
export function optionsOfEnvironment(env: NodeJS.ProcessEnv): Record<string, unknown> {
  const options: Record<string, unknown> = {}
  for (const name of Object.keys(defaultOptions)) {
    const text = env[variableOf(name)]
    if (text !== undefined && text !== '') options[name] = parse(name, text)
  }
  return options
}

/** What can't be parsed stays as it is, for `resolveOptions()` to complain about. */
function parse(name: string, text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  if (name === 'closeSignals') return text.split(',').map(signal => signal.trim())
  const isTime =
    typeof defaultOptions[name as keyof ResolvedOptions] === 'number' || name === 'idleSpreadTime'
  return isTime && Number.isFinite(Number(text)) ? Number(text) : text
}

/**
 * Checks the options of all places and fills in the defaults; later ones win.
 * @throws GRACEFUL_UPGRADE_INVALID_OPTION, which names the option and what is allowed
 */
export function resolveOptions(...given: readonly unknown[]): ResolvedOptions {
  const resolved: Record<string, unknown> = { ...defaultOptions }
  for (const options of given) {
    if (options === undefined) continue
    if (typeof options !== 'object' || options === null || Array.isArray(options)) {
      throw invalid('the options', 'must be an object', options)
    }
    for (const [name, value] of Object.entries(options)) {
      if (name === 'prefix' || name === 'logLevel' || name === 'logSerializers') continue // Fastify's own
      if (value === undefined) continue
      check(name, value)
      resolved[name] = value
    }
  }
  if ((resolved.closeSignals as readonly unknown[] | false) && resolved.reloadSignal !== false) {
    if ((resolved.closeSignals as readonly unknown[]).includes(resolved.reloadSignal)) {
      throw invalid('closeSignals', 'must not contain the reloadSignal', resolved.closeSignals)
    }
  }
  return resolved as unknown as ResolvedOptions
}

function check(name: string, value: unknown): void {
  switch (name) {
    case 'pollInterval':
      return checkTime(name, value, 1)
    case 'readyTimeout':
      return checkTime(name, value, 1)
    case 'drainTimeout':
    case 'closeTimeout':
    case 'claimTimeout':
    case 'spreadTime':
      return checkTime(name, value, 0)
    case 'idleSpreadTime':
      return value === false ? undefined : checkTime(name, value, 0)
    case 'handover':
      if (value !== 'idle' && value !== 'all' && value !== false)
        throw invalid(name, "must be 'idle', 'all' or false", value)
      return
    case 'reloadSignal':
      if (value !== false && !isSignal(value)) throw invalid(name, "must be a signal's name, or false", value)
      return
    case 'closeSignals':
      if (
        value !== false &&
        !(Array.isArray(value) && value.every(signal => graceSignals.includes(signal)))
      ) {
        throw invalid(name, `must be an array of ${graceSignals.join(', ')}, or false`, value)
      }
      return
    case 'controlSocket':
      if (typeof value !== 'boolean' && (typeof value !== 'string' || value === ''))
        throw invalid(name, 'must be a path, true or false', value)
      return
    default:
      throw invalid(name, `is unknown (there are ${Object.keys(defaultOptions).join(', ')})`, value)
  }
}

function checkTime(name: string, value: unknown, least: number): void {
  if (typeof value === 'number' && value >= least && value <= longestTime) return
  throw invalid(name, `must be a number of milliseconds from ${least} to ${longestTime}`, value)
}

function isSignal(value: unknown): boolean {
  return typeof value === 'string' && Object.hasOwn(constants.signals, value) && !reservedSignals.has(value)
}

function invalid(name: string, rule: string, value: unknown): GracefulUpgradeError {
  return new GracefulUpgradeError(
    'GRACEFUL_UPGRADE_INVALID_OPTION',
    `${name} ${rule}, but is ${inspect(value)}`
  )
}
