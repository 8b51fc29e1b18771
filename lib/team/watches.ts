import type { Log } from '../log.js'
import { mainPid, type Worker } from '../master/generation.js'
import type { BalanceCounts } from '../master/scaling.js'
import { createBalance } from './balance.js'
import type { Distribution } from './distribution.js'
import { limitMemory } from './memory-limit.js'
import type { Recycling } from './recycling.js'
import type { Roll } from './roll.js'

export interface WatchesOptions {
  readonly log: Log
  readonly generation: number
  readonly roll: Roll
  readonly distribution: Distribution
  readonly recycling: Recycling
  /** Counts what is done to even out their load; undefined where nothing is. */
  readonly balanced?: BalanceCounts | undefined
  /** Resident set size beyond which one is replaced, in bytes. */
  readonly maxMemory?: number | undefined
}

/** Looks after the workers of a team while they serve: their load, and their memory. */
export function beginWatches(options: WatchesOptions): { stop(): void } {
  const { log, generation, roll, distribution, recycling, balanced, maxMemory } = options
  const { current, served, slotOf } = roll
  const watches = [
    balanced && createBalance({ members: current, counts: balanced, log, onLook: distribution.learn }),
    maxMemory && limitMemory({ limit: maxMemory, workers: served, onExceeded })
  ]
  return {
    stop() {
      for (const watch of watches) if (watch) watch.stop()
    }
  }

  function onExceeded(worker: Worker, rss: number): void {
    const slot = slotOf(worker)
    if (slot === undefined) return
    const name = { generation, worker: slot.index, generationPid: mainPid(worker) }
    log.warn({ ...name, rss, maxMemory }, 'worker has too much memory, replacing it')
    recycling.add(worker, 'memory')
  }
}
