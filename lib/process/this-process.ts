/**
 * What is one per process by nature, in one place: what it listens on, its application, and its role. All else
 * is made from here, and given what it needs.
 */

import { isMainThread } from 'node:worker_threads'
import { isAlive } from '../is-alive.js'
import type { OpenListener } from '../listeners/address.js'
import { watchListeners } from '../listeners/listeners.js'
import type { Judge } from '../master/generation.js'
import { captureRestartContext } from '../master/restart-context.js'
import { openStandardError } from '../master/standard-error.js'
import { inheritanceVariable, readInheritance } from '../protocol/inheritance.js'
import type { Inquire } from '../protocol/inquire.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { createOwnListeners } from '../signals/own-listeners.js'
import { listenersOfSystemd } from '../systemd/sockets.js'
import { createDeferred } from '../time/deferred.js'
import { createApplication } from './application.js'
import { createBeside } from './beside.js'
import { takeTurns } from './copies.js'
import type { Instance } from './instance.js'
import { watchReadiness } from './readiness.js'
import type { ProcessContext, Role } from './role.js'
import { createStandaloneRole } from './standalone.js'
import { createTeamHere } from './team-here.js'
import { createWorkerRole } from './worker-role.js'

// In a worker thread the descriptors are the main thread's.
const inheritance = isMainThread
  ? readInheritance(process.env[inheritanceVariable], process.ppid, isAlive)
  : undefined

// Not for the application's own children.
delete process.env[inheritanceVariable]

/** Whether a master has started this process. */
export const isWorker = inheritance !== undefined

export const generation = inheritance?.generation ?? 1

export const listeners = watchListeners(inheritance?.listeners ?? socketActivated())

if (inheritance === undefined) listeners.serve()

const own = createOwnListeners()

export const application = createApplication(listeners, own)

const useThisCopy = takeTurns(listeners, () => inheritance !== undefined || application.instances.size > 0)

/** Which worker this is of how many. */
export const team = createTeamHere(inheritance)

/** What this process does while two generations serve. */
export const beside = createBeside(listeners, application)

const alone = createDeferred()

/** Resolves when no older generation serves beside this one. */
export const servesAlone = alone.promise

const context: ProcessContext = {
  generation,
  team,
  servesAlone: alone.resolve,
  application,
  listeners,
  own,
  beside,
  context: captureRestartContext(),
  standardError: openStandardError()
}

/** The first generation serves as soon as it listens, and nobody waits for it. */
const readiness = inheritance && watchReadiness(application, listeners)

let role: Role =
  inheritance && readiness
    ? createWorkerRole(context, { inheritance, ready: readiness.ready, onAlone })
    : createStandaloneRole(context)

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

/** Nothing is installed for signals before the first instance serves: most instances of a test suite never do. */
function begin(): void {
  if (application.ending) return
  role.installSignals()
}

function onAlone(): Role {
  role = createStandaloneRole(context, { isHeir: true })
  if (isServing()) begin()
  return role
}

function isServing(): boolean {
  return [...application.instances].some(({ state }) => state === 'serving')
}

/** Of an instance that serves. */
export function servingState(): 'serving' | 'upgrading' | 'probation' | 'closing' {
  if (application.isClosing) return 'closing'
  if (beside.role === undefined) return listeners.isUpgrading() ? 'upgrading' : 'serving'
  return beside.role === 'candidate' ? 'probation' : 'serving'
}

/** Whether an instance wants requests: its connections move to another generation, or they don't have to. */
export function isReady(instance: Instance): boolean {
  if (instance.state === 'serving') return !application.isClosing
  return instance.state === 'draining' && instance.drainReason === 'upgrade'
}

/** Asks whoever is the master for an upgrade. */
export function upgrade(): Promise<UpgradeResult> {
  return role.upgrade()
}

/** Says to whoever is the master what is to become of a generation on probation. */
export const judge: Judge = (verdict, reason) => role.judge(verdict, reason)

/** Asks whoever is the master for what it knows of the whole service. */
export const inquire: Inquire = about => role.inquire(about)

/**
 * The application says that it listens on all that it wants, be it by a server that only feeds this instance's; before
 * it listens at all, that would close what it inherits.
 */
export function declareReady(instance: Instance): void {
  if (application.ending || instance.state === 'closed') return
  if (!listeners.live().some(({ server }) => server.listening))
    return application.log.warn('ready() was ignored, as nothing listens yet: call it after listen()')
  instance.declareReady()
  begin()
  process.nextTick(() => readiness?.declare()) // behind what listens since this very turn, and is published then
}

/** @throws GRACEFUL_UPGRADE_DUPLICATE if another copy of this package has an instance in this process */
export function add(instance: Instance): void {
  useThisCopy()
  application.add(instance)
}

export function booted(instance: Instance): void {
  instance.booted = true
  readiness?.check()
}

/** `close()` of any instance, which the hook of any other may wait for. */
export function closeCalled(closed: Instance): void {
  closed.isCloseCalled = true
  for (const instance of application.instances) instance.closeCalled()
}

/** With the last instance that serves go the signals: nothing of this package is left behind in the process. */
export function remove(instance: Instance): void {
  application.remove(instance)
  readiness?.check()
  if (!application.ending && !isServing()) role.removeSignals()
}
