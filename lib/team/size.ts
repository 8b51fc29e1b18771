import { GracefulUpgradeError } from '../errors.js'
import type { Log } from '../log.js'
import { outcomeOf } from '../master/retire.js'
import type { Roll } from './roll.js'
import type { Slot } from './slot.js'

export interface TeamSizeOptions {
  readonly log: Log
  readonly generation: number
  readonly roll: Roll
  addSlot(index: number): Slot
  /** Is waited for before a new one serves. */
  prepare(): Promise<void>
  /** Whether the team serves yet. */
  isServing(): boolean
}

/** How many workers a team has. */
export interface TeamSize {
  /** How many there shall be. */
  readonly wanted: number
  /**
   * Changes that, one by one; those that are too many drain in their own time.
   * @param onProgress is told how many serve
   * @throws what keeps one from its start: those that there are serve on
   */
  scale(workers: number, onProgress: (workers: number) => void): Promise<number>
}

export function createTeamSize(workers: number, options: TeamSizeOptions): TeamSize {
  const { log, generation, roll, addSlot, prepare, isServing } = options
  const { slots, removed } = roll
  let wanted = workers
  return {
    get wanted() {
      return wanted
    },
    async scale(workers, onProgress) {
      wanted = workers
      while (slots.length < wanted) {
        await grow()
        onProgress(slots.length)
      }
      while (slots.length > wanted) {
        void shrink(slots.pop() as Slot)
        onProgress(slots.length)
      }
      return slots.length
    }
  }

  async function grow(): Promise<void> {
    const slot = addSlot(slots.length)
    try {
      await slot.boot()
      await prepare()
      if (slot.current() === undefined) throw endedEarly(slot)
      if (!isServing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
    } catch (error) {
      if (slots.includes(slot)) slots.splice(slots.indexOf(slot), 1)
      slot.kill()
      slot.release()
      wanted = slots.length
      throw error
    }
    slot.serve([])
    slot.current()?.alone()
    roll.tell()
  }

  function endedEarly({ index }: Slot): GracefulUpgradeError {
    const detail = `worker ${index} of generation ${generation} ended before it served`
    return new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', detail)
  }

  async function shrink(slot: Slot): Promise<void> {
    removed.add(slot)
    roll.tell()
    const [{ pid } = { pid: 0 }] = slot.processes()
    for (const retirement of await slot.retire()) {
      const name = { generation, worker: slot.index, generationPid: pid }
      log.info({ ...name, ...outcomeOf(retirement) }, 'worker retired')
    }
    slot.release()
    removed.delete(slot)
  }
}
