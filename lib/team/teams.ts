import type { Generation } from '../master/generation.js'
import type { Release } from '../master/releases.js'
import type { BalanceCounts } from '../master/scaling.js'
import type { WorkerSettings, WorkerStart } from '../master/spawn.js'
import type { startWorker } from '../master/worker.js'
import { startTeam } from './team.js'

/** Starts the generations of a master as teams: of as many workers as are wanted. */
export interface Teams {
  /** So many the first one begins with. */
  readonly workers: number
  /** What has been done to even out their load. */
  readonly balanced: Readonly<BalanceCounts>
  start(settings: GenerationSettings, next: WorkerStart, startOne: typeof startWorker): Generation
}

export interface TeamsSettings {
  readonly workers: number
  /** Whether somebody has said how many. */
  readonly isAsked: boolean
  /** Whether their load is evened out. */
  readonly balance: boolean
  /** Resident set size beyond which a worker is replaced, in bytes. */
  readonly maxMemory: number | undefined
}

export interface GenerationSettings extends Omit<WorkerSettings, 'context'> {
  readonly release: Release
}

export function createTeams({ workers, isAsked, balance, maxMemory }: TeamsSettings): Teams {
  const balanced = { moved: 0, closed: 0 }
  return { workers, balanced, start }

  function start(
    { release, ...settings }: GenerationSettings,
    next: WorkerStart,
    startOne: typeof startWorker
  ): Generation {
    const options = {
      log: settings.log,
      isNumbered: isAsked,
      balanced: balance ? balanced : undefined,
      maxMemory,
      start: (one: WorkerStart) => startOne({ ...settings, context: release.next() }, one)
    }
    return startTeam(options, next)
  }
}
