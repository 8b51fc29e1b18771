/**
 * What is one per process by nature, in one place: what it listens on, its application, and its role. All else
 * is made from here, and given what it needs.
 */
import cluster from 'node:cluster'
import { createApplication } from './application.js'
import { GracefulUpgradeError } from './errors.js'
import type { Instance } from './instance.js'
import { watchListeners } from './listeners.js'
import { inheritanceVariable, readInheritance, type UpgradeResult } from './protocol.js'
import { captureRestartContext } from './restart-context.js'
import type { Household, Role } from './role.js'
import { playMaster } from './role-master.js'
import { playWorker } from './role-worker.js'
import { openStandardError } from './standard-error.js'

const inheritance = readInheritance(process.env[inheritanceVariable], process.ppid, isAlive)
delete process.env[inheritanceVariable] // not for the application's own children

export const generation = inheritance?.generation ?? 1
export const listeners = watchListeners(inheritance?.listeners ?? [])
export const application = createApplication(listeners)

const household: Household = {
  generation,
  application,
  listeners,
  context: captureRestartContext(),
  standardError: openStandardError()
}
const worker = inheritance ? playWorker(household, inheritance, onAlone) : undefined
let role: Role | undefined = worker

listeners.on('listening', ({ server }) => {
  if ([...application.instances].some(({ app }) => app.server === server)) begin()
})

/** Nothing is installed for signals before the first instance listens: most instances of a test suite never do. */
function begin(): void {
  if (role === undefined && !application.ending) role = playMaster(household)
}

function onAlone(): void {
  role = undefined
  if ([...application.instances].some(({ state }) => state === 'serving')) begin()
}

/** Asks whoever is the master for an upgrade. */
export function upgrade(): Promise<UpgradeResult> {
  const unsupported = whyUnsupported()
  if (unsupported !== undefined) {
    return Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_UNSUPPORTED', unsupported))
  }
  return role?.upgrade() ?? Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
}

/** The application says that it listens on all that it wants. */
export function declareReady(): void {
  worker?.declareReady()
}

export function booted(instance: Instance): void {
  instance.booted = true
  worker?.checkReady()
}

/** With the last instance go the signals: nothing of this package is left behind in the process. */
export function remove(instance: Instance): void {
  application.remove(instance)
  worker?.checkReady()
  if (application.instances.size > 0 || application.ending) return
  role?.leave()
  if (role !== worker) role = undefined
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function whyUnsupported(): string | undefined {
  if (process.platform === 'win32') return 'Windows cannot pass a listening socket on to another process'
  if (cluster.isWorker)
    return "in a node:cluster worker the sockets are the primary's: run without node:cluster"
  return undefined
}
