import { availableParallelism } from 'node:os'
import { GracefulUpgradeError } from '../errors.js'
import { mostWorkers } from '../master/scaling.js'
import type { ResolvedOptions } from '../options/given.js'
import { variableOf } from '../options/supervised.js'
import type { TeamsSettings } from '../team/teams.js'
import { cpuQuota } from './cpu-quota.js'

/** What the machine says of itself; a test plays it. */
export interface Cores {
  available(): number
  /** Infinity for no limit. */
  quota(): number
}

const thisMachine: Cores = { available: availableParallelism, quota: cpuQuota }

/** Of a worker's memory, in bytes: an empty one has more, and would be replaced for ever. */
const leastMemory = 2 ** 20

/** By the power of 1024 that each stands for. */
const units = ['', 'K', 'M', 'G']

/**
 * @param environment with what the command line says
 * @throws GRACEFUL_UPGRADE_USAGE
 */
export function teamOf(
  environment: NodeJS.ProcessEnv,
  { handover }: Pick<ResolvedOptions, 'handover'>
): TeamsSettings {
  // An empty one counts as none, as with all options.
  const workers = environment[variableOf('workers')] || undefined
  const balance = environment[variableOf('balance')] || undefined
  const maxMemory = environment[variableOf('maxMemory')] || undefined
  return {
    workers: workers === undefined ? 1 : resolveWorkers(workers),
    isAsked: workers !== undefined,
    balance: balance === undefined ? handover !== false : parseSwitch(balance),
    maxMemory: maxMemory === undefined ? undefined : parseSize(maxMemory)
  }
}

/**
 * @param text a number from 1 to 1024; or `auto`, for as many as the cores that this process may really use
 * @throws GRACEFUL_UPGRADE_USAGE
 */
export function resolveWorkers(text: string, cores: Cores = thisMachine): number {
  if (text === 'auto') return Math.max(Math.floor(Math.min(cores.available(), cores.quota())), 1)
  const workers = /^\d+$/.test(text) ? Number(text) : 0
  if (workers < 1 || workers > mostWorkers)
    throw usage(`workers must be a number from 1 to ${mostWorkers}, or auto`, text)
  return workers
}

/**
 * @param text `512M`: K, M and G are powers of 1024
 * @returns bytes
 * @throws GRACEFUL_UPGRADE_USAGE
 */
export function parseSize(text: string): number {
  const [, amount = '', unit = ''] = /^(\d+)([KMG]?)$/i.exec(text) ?? []
  const bytes = amount === '' ? 0 : Number(amount) * 1_024 ** units.indexOf(unit.toUpperCase())
  if (bytes < leastMemory || bytes > Number.MAX_SAFE_INTEGER)
    throw usage('maxMemory must be a size of at least 1M, such as 512M or 2G', text)
  return bytes
}

function parseSwitch(text: string): boolean {
  if (text !== 'true' && text !== 'false') throw usage('balance must be true or false', text)
  return text === 'true'
}

function usage(rule: string, text: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', `${rule}, but is ${text}`)
}
