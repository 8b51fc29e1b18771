import { GracefulUpgradeError } from '../errors.js'
import { type Ending, mainPid, type Worker } from '../master/generation.js'
import type { Slot } from './slot.js'

/** How the workers of a generation have ended: of each place the last one. */
export interface Endings {
  note(slot: Slot, ending: Ending): void
  /** What the generation has ended with. */
  last(): Ending
}

/** @param slots the places that there are */
export function createEndings(slots: readonly Slot[]): Endings {
  const endings = new WeakMap<Slot, Ending>()
  return {
    note: (slot, ending) => void endings.set(slot, ending),
    last: () => worst(slots.flatMap(slot => endings.get(slot) ?? []))
  }
}

/** The one that has failed, if one has. */
export function worst<Each extends Ending>(endings: readonly Each[]): Ending {
  const { code, signal } = endings.find(({ code }) => code !== 0) ?? endings[0] ?? { code: 1, signal: null }
  return { code, signal }
}

export function failedToLive(generation: number, index: number, worker: Worker): GracefulUpgradeError {
  const detail = `worker ${index} of generation ${generation} (pid ${mainPid(worker)}) ended before the others were ready`
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', detail)
}
