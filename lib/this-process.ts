/**
 * What is one per process by nature, in one place: what it listens on, its application, and its role. All else
 * is made from here, and given what it needs.
 */
import { isMainThread } from 'node:worker_threads'
import { type Application, createApplication } from './application.js'
import { GracefulUpgradeError } from './errors.js'
import type { Instance } from './instance.js'
import { isAlive } from './is-alive.js'
import { watchListeners } from './listeners.js'
import { inheritanceVariable, type OpenListener, readInheritance, type UpgradeResult } from './protocol.js'
import { captureRestartContext } from './restart-context.js'
import type { Household, Role } from './role.js'
import { playMaster } from './role-master.js'
import { playWorker } from './role-worker.js'
import { openStandardError } from './standard-error.js'
import { listenersOfSystemd } from './systemd-listeners.js'

/** Where copies of this package find each other. */
const copy = Symbol.for('fastify-graceful-upgrade')

// In a worker thread the descriptors are the main thread's.
const inheritance = isMainThread
  ? readInheritance(process.env[inheritanceVariable], process.ppid, isAlive)
  : undefined
delete process.env[inheritanceVariable] // not for the application's own children

export const generation = inheritance?.generation ?? 1
export const listeners = watchListeners(inheritance?.listeners ?? socketActivated())
if (inheritance === undefined) listeners.serve()
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

/** What systemd has opened for this process: a `listen()` for the same address takes it, as in a worker. */
function socketActivated(): readonly OpenListener[] {
  try {
    return isMainThread ? listenersOfSystemd(process.env, process.pid) : []
  } catch {
    return [] // sockets of other kinds: the application's own business
  }
}

/** Nothing is installed for signals before the first instance listens: most instances of a test suite never do. */
function begin(): void {
  if (application.ending) return
  role ??= playMaster(household)
  role.enter()
}

function onAlone(): void {
  role = undefined
  if ([...application.instances].some(({ state }) => state === 'serving')) begin()
}

/** Asks whoever is the master for an upgrade. */
export function upgrade(): Promise<UpgradeResult> {
  return role?.upgrade() ?? Promise.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING'))
}

/** The application says that it listens on all that it wants; before it listens at all, that would close what it inherits. */
export function declareReady(): void {
  if (listeners.live().some(({ server }) => server.listening)) worker?.declareReady()
  else if (!application.ending)
    application.log.warn('ready() was ignored, as nothing listens yet: call it after listen()')
}

/**
 * @throws GRACEFUL_UPGRADE_DUPLICATE if another copy of this package has an instance in this process: both would
 * answer the same signal
 */
export function add(instance: Instance): void {
  const process = globalThis as { [copy]?: Application }
  // A test runner that loads modules anew leaves behind a copy whose instances are closed.
  if (process[copy] === undefined || process[copy].instances.size === 0) process[copy] = application
  if (process[copy] !== application) {
    const detail = 'let all of them resolve to one (npm ls fastify-graceful-upgrade)'
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_DUPLICATE', detail)
  }
  application.add(instance)
}

export function booted(instance: Instance): void {
  instance.booted = true
  worker?.checkReady()
}

/** With the last instance that listens go the signals: nothing of this package is left behind in the process. */
export function remove(instance: Instance): void {
  application.remove(instance)
  worker?.checkReady()
  if (application.ending || [...application.instances].some(({ app }) => app.server.listening)) return
  role?.leave()
  if (role !== worker) role = undefined
}
