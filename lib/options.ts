import { constants } from 'node:os'
import { inspect } from 'node:util'
import { type CheckRequest, checkRule, isCheck } from './check.js'
import { GracefulUpgradeError } from './errors.js'
import { nearest } from './nearest.js'

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

/** Some 11 days, in milliseconds. The sum of two is timed too, and beyond 2 ** 31 - 1 setTimeout() fires at once. */
export const longestTime = 1_000_000_000

/** Those of close-with-grace that ask a process to end; the others of it mean that the process is broken. */
const graceSignals: readonly unknown[] = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR2', 'SIGHUP']

/** No process can listen for these, or Node.js and the debugger need them. */
const reservedSignals = new Set(['SIGKILL', 'SIGSTOP', 'SIGUSR1', 'SIGCHLD', 'SIGPROF'])

/** Options of the supervised master, which no plugin can follow; with how a server is started that has them. */
export const supervisorOptions: Readonly<Record<string, string>> = {
  workers: 'graceful-upgrade --workers 4 server.js',
  balance: 'graceful-upgrade --workers 4 --balance false server.js',
  maxMemory: 'graceful-upgrade --max-memory 512M server.js'
}

/** What an option may be. */
interface Kind {
  /** In words. */
  readonly rule: string
  allows(value: unknown): boolean
  /** From a variable of the environment; what can't be parsed stays as it is, to be refused. */
  fromText?(text: string): unknown
}

type Table = { readonly [Name in keyof ResolvedOptions]: Kind & { readonly default: ResolvedOptions[Name] } }

const table: Table = {
  pollInterval: { default: 500, ...time(1) },
  drainTimeout: { default: 30_000, ...time(0) },
  closeTimeout: { default: 10_000, ...time(0) },
  readyTimeout: { default: 60_000, ...time(1) },
  claimTimeout: { default: 5_000, ...time(0) },
  check: {
    default: false,
    rule: checkRule,
    allows: value => value === false || isCheck(value),
    fromText: texts
  },
  checkTimeout: { default: 5_000, ...time(1) },
  handover: { default: 'idle', ...oneOf("'idle', 'all' or false", 'idle', 'all', false) },
  spreadTime: { default: 1_000, ...time(0) },
  idleSpreadTime: { default: false, ...orFalse(time(0)) },
  reloadSignal: { default: 'SIGHUP', ...orFalse(signal()) },
  closeSignals: { default: ['SIGTERM', 'SIGINT'], ...orFalse(signals()) },
  retireSignal: { default: 'SIGTERM', ...orFalse(signal()) },
  probation: { default: 0, ...time(0) },
  probationShare: { default: 0.1, ...share(0.01) },
  probationErrorRate: { default: false, ...orFalse(share(0)) },
  controlSocket: { default: true, ...path() }
}

export const defaultOptions = Object.fromEntries(
  Object.entries(table).map(([name, option]) => [name, option.default])
) as unknown as ResolvedOptions

function time(least: number): Kind {
  return number('a number of milliseconds', least, longestTime)
}

function share(least: number): Kind {
  return number('a number', least, 1)
}

function number(what: string, least: number, most: number): Kind {
  return {
    rule: `${what} from ${least} to ${most}`,
    allows: value => typeof value === 'number' && value >= least && value <= most,
    fromText: text => (Number.isFinite(Number(text)) ? Number(text) : text)
  }
}

function signal(): Kind {
  return {
    rule: "a signal's name",
    allows: value =>
      typeof value === 'string' && Object.hasOwn(constants.signals, value) && !reservedSignals.has(value)
  }
}

function signals(): Kind {
  return {
    rule: `an array of ${graceSignals.join(', ')}`,
    allows: value => Array.isArray(value) && value.every(signal => graceSignals.includes(signal)),
    fromText: texts
  }
}

function texts(text: string): string[] {
  return text.split(',').map(each => each.trim())
}

function path(): Kind {
  return {
    rule: 'a path, true or false',
    allows: value => typeof value === 'boolean' || (typeof value === 'string' && value !== '')
  }
}

function oneOf(rule: string, ...values: readonly unknown[]): Kind {
  return { rule, allows: value => values.includes(value) }
}

function orFalse(kind: Kind): Kind {
  return {
    ...kind,
    rule: `${kind.rule}, or false`,
    allows: value => value === false || kind.allows(value)
  }
}

/** The variable of the environment that an option can come from: `GRACEFUL_UPGRADE_DRAIN_TIMEOUT`. */
export function variableOf(name: string): string {
  return `GRACEFUL_UPGRADE_${name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`
}

/** Options that are set in the environment, by whoever runs the application; they win over those in its code. */
export function optionsOfEnvironment(env: NodeJS.ProcessEnv): Record<string, unknown> {
  const options: Record<string, unknown> = {}
  for (const [name, { fromText }] of Object.entries<Kind>(table)) {
    const text = env[variableOf(name)]
    if (text === undefined || text === '') continue
    options[name] = text === 'true' || text === 'false' ? text === 'true' : (fromText?.(text) ?? text)
  }
  return options
}

/**
 * A process that nobody supervises is alone, whatever it is told. In the children of a worker these are the worker's variables.
 * @throws GRACEFUL_UPGRADE_INVALID_OPTION where something is wanted that only a master can do
 */
export function refuseSupervision(env: NodeJS.ProcessEnv): void {
  if (env[variableOf('worker')] !== undefined) return
  for (const option of Object.keys(supervisorOptions)) {
    const name = variableOf(option)
    const isWanted = !['', option === 'workers' ? '1' : ''].includes(env[name] ?? '')
    if (isWanted)
      throw new GracefulUpgradeError('GRACEFUL_UPGRADE_INVALID_OPTION', onlySupervised(name, option))
  }
}

function onlySupervised(name: string, option: string): string {
  return `${name} needs a master from the start: start the server by ${supervisorOptions[option]}`
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
  if (resolved.reloadSignal !== false) {
    if (
      resolved.closeSignals &&
      (resolved.closeSignals as readonly unknown[]).includes(resolved.reloadSignal)
    )
      throw invalid('closeSignals', 'must not contain the reloadSignal', resolved.closeSignals)
    if (resolved.retireSignal === resolved.reloadSignal)
      throw invalid('retireSignal', 'must not be the reloadSignal', resolved.retireSignal)
  }
  return resolved as unknown as ResolvedOptions
}

function check(name: string, value: unknown): void {
  if (Object.hasOwn(supervisorOptions, name))
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_INVALID_OPTION', onlySupervised(name, name))
  if (!Object.hasOwn(table, name)) throw invalid(name, unknown(name), value)
  const { rule, allows } = table[name as keyof Table]
  if (!allows(value)) throw invalid(name, `must be ${rule}`, value)
}

function unknown(name: string): string {
  const names = Object.keys(table)
  const meant = nearest(name, names)
  return `is unknown${meant === undefined ? '' : `: did you mean ${meant}?`} (there are ${names.join(', ')})`
}

function invalid(name: string, rule: string, value: unknown): GracefulUpgradeError {
  return new GracefulUpgradeError(
    'GRACEFUL_UPGRADE_INVALID_OPTION',
    `${name} ${rule}, but is ${inspect(value)}`
  )
}
