import { inspect } from 'node:util'
import { GracefulUpgradeError } from './errors.js'
import { nearest } from './nearest.js'
import type { ResolvedOptions } from './options/given.js'
import {
  checks,
  code,
  type Kind,
  longestDelay,
  oneOf,
  orFalse,
  path,
  share,
  signal,
  signals,
  time
} from './options/kinds.js'
import { onlySupervised, supervisorOptions, variableOf } from './options/supervised.js'

type Table = { readonly [Name in keyof ResolvedOptions]: Kind & { readonly default: ResolvedOptions[Name] } }

const table: Table = {
  pollInterval: { default: 500, ...time(1) },
  drainTimeout: { default: 30_000, ...time(0) },
  closeTimeout: { default: 10_000, ...time(0) },
  closeDelay: { default: 0, ...time(0, longestDelay) },
  close: { default: false, ...orFalse(code()) },
  readyTimeout: { default: 60_000, ...time(1) },
  claimTimeout: { default: 5_000, ...time(0) },
  check: { default: false, ...checks() },
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

/** Those that a flag, or the environment, can give. */
export const textOptions = Object.entries<Kind>(table).flatMap(([name, { isCode }]) => (isCode ? [] : name))

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
