import { readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { isRunning } from '../control/is-running.js'
import type { Progress } from '../control/messages.js'
import { isOwnProc, pidNamespace } from '../control/pid-namespace.js'
import { pidOf, probe } from '../control/place.js'
import { GracefulUpgradeError } from '../errors.js'
import { isWorkerOf } from '../protocol/inheritance.js'

/** A master has said that it has taken the order to stop. */
export type Stopping = Extract<Progress, { stage: 'stopping' }>

/** A process that ends closes a connection before it closes the socket that it listens on; in milliseconds. */
const closeTime = 500

/** What a process that has let go of its control socket may take to end, in milliseconds. */
const exitTime = 5_000

/** What a worker may take to end with its master, where both are killed at once, in milliseconds. */
const commonDeathTime = 500

/** Between two looks at a process, in milliseconds. */
const interval = 20

/**
 * What has become of a master that ended the connection of an order to stop without an answer.
 * @param taken what it has said before, if it had taken the order
 * @returns once it is known to have ended, and its workers with it
 * @throws GRACEFUL_UPGRADE_MASTER_LOST where it goes on, or a worker does, or nobody knows
 */
export async function awaitEnd(
  file: string,
  taken: Stopping | undefined,
  signal?: AbortSignal
): Promise<void> {
  await mustBeGone(file)
  const pid = taken === undefined || taken.namespace !== pidNamespace() ? pidOf(file) : taken.pid
  if (pid === undefined) {
    if (taken !== undefined) return // of another PID namespace, or a volume: all of it has been told to end
    throw lost('look whether it, or a worker of it, goes on')
  }
  if (!(await hasEnded(pid, exitTime, signal))) throw lost(`process ${pid} runs on`)
  const workers = workersOf(pid)
  if (workers === undefined && taken === undefined) throw lost('look whether a worker of it goes on')
  for (const worker of workers ?? []) {
    const time = taken === undefined ? commonDeathTime : Number.POSITIVE_INFINITY
    if (await hasEnded(worker, time, signal)) continue
    throw lost(`process ${worker} of it goes on, as its own master: stop that one`)
  }
}

/** @throws GRACEFUL_UPGRADE_MASTER_LOST if somebody listens there yet, and goes on to */
export async function mustBeGone(file: string): Promise<void> {
  const end = performance.now() + closeTime
  while ((await probe(file)) === undefined) {
    if (performance.now() > end) {
      const detail = 'the server has ended the connection, and goes on: ask again'
      throw new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', detail)
    }
    await sleep(interval)
  }
}

function lost(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', `it went away; ${detail}`)
}

async function hasEnded(pid: number, time: number, signal?: AbortSignal): Promise<boolean> {
  const end = performance.now() + time
  while (isRunning(pid)) {
    if (performance.now() > end || signal?.aborted) return false
    await sleep(interval)
  }
  return true
}

/** @returns processes that this master has started as workers; undefined where the system doesn't tell */
function workersOf(master: number): number[] | undefined {
  if (!isOwnProc()) return undefined
  const pids = readdirSync('/proc').filter(name => /^\d+$/.test(name))
  return pids.map(Number).filter(pid => isWorkerOf(pid, master))
}
