import type { HoldUp } from '../drain/hold-up.js'
import type { MasterEvents } from '../master/events.js'
import { type Generation, heldUpBy, mainPid, type Retirement } from '../master/generation.js'
import type { Master } from '../master/master.js'
import type { ProbationStatus } from '../probation/probation.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import { createDeferred } from '../time/deferred.js'
import type { Progress } from './messages.js'

/** Pause between two looks at a generation that drains, in milliseconds. */
const countInterval = 250

/** Every so many looks what it waits for has names: most drains are over by then. */
const looksForNames = 4

type Named = MasterEvents['workerReady'][1]

/**
 * One upgrade, told from the start of the next generation to the end of the old one.
 * @throws what `Master.upgrade()` throws
 */
export async function reload(master: Master, onProgress: (progress: Progress) => void): Promise<void> {
  const { events } = master
  const old = master.serving()
  const retirement = old && awaitRetirement(master, old)
  let booting: Generation | undefined
  events.on('booting', onBooting)
  events.on('workerReady', onWorkerReady)
  events.on('unchecked', onUnchecked)
  events.on('probation', onProbation)
  try {
    onProgress({ stage: 'ready', ...(await master.upgrade()) })
  } catch (error) {
    retirement?.cancel()
    throw error
  } finally {
    events.off('booting', onBooting)
    events.off('workerReady', onWorkerReady)
    events.off('unchecked', onUnchecked)
    events.off('probation', onProbation)
  }
  if (old === undefined || retirement === undefined) return // nobody served: a dead worker was replaced
  const stopCounting = countAgainAndAgain(master, old, onProgress)
  const [{ code, signal, report }, ms] = await retirement.promise
  stopCounting()
  onProgress({ stage: 'retired', generation: old.number, pid: mainPid(old), ms, code, signal, report })

  function onBooting(next: Generation): void {
    booting = next
    onProgress({ stage: 'booting', generation: next.number, pid: mainPid(next) || null })
  }

  function onProbation(generation: Generation, status: ProbationStatus): void {
    onProgress({ stage: 'probation', generation: generation.number, pid: mainPid(generation), ...status })
  }

  /** A worker of the old one may be replaced meanwhile. */
  function onWorkerReady(generation: Generation, worker: Named, ms: number): void {
    if (generation === booting)
      onProgress({ stage: 'worker', generation: generation.number, ...worker, ms: Math.round(ms) })
  }

  function onUnchecked(next: Generation, worker: number | undefined, failure: CheckFailure): void {
    if (next !== booting) return
    const { request, outcome } = failure
    onProgress({ stage: 'unchecked', generation: next.number, worker, request, outcome })
  }
}

function awaitRetirement({ events }: Master, generation: Generation) {
  const { promise, resolve } = createDeferred<[Retirement, number]>()
  events.on('retired', onRetired)
  return { promise, cancel }

  function onRetired(old: Generation, retirement: Retirement, ms: number): void {
    if (old !== generation) return
    cancel()
    resolve([retirement, ms])
  }

  function cancel(): void {
    events.off('retired', onRetired)
  }
}

/** How many connections a generation that drains has yet. @returns stops that */
function countAgainAndAgain(
  master: Master,
  old: Generation,
  onProgress: (progress: Progress) => void
): () => void {
  let looks = 0
  let held: readonly HoldUp[] = []
  const timer = setInterval(() => void count(), countInterval)
  void count()
  return () => clearInterval(timer)

  async function count(): Promise<void> {
    const isNamed = looks > 0 && looks % looksForNames === 0
    looks++
    const connections = await old.connections()
    if (isNamed) held = await heldUpBy(old)
    const entry = master.generations().find(({ generation }) => generation === old)
    if (entry?.state !== 'draining') return
    const names = held.length > 0 && { heldUpBy: held }
    onProgress({ stage: 'draining', generation: old.number, pid: mainPid(old), connections, ...names })
  }
}
