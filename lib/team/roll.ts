import { type ConnectionCounts, sumCounts } from '../connections/state.js'
import { type GenerationProcess, mainPid, type Worker } from '../master/generation.js'
import type { Tally } from '../protocol/probation.js'
import type { Slot } from './slot.js'

/** Who is in a team. It knows; to act is the team's. */
export interface Roll {
  /** The places that there are, by their index. */
  readonly slots: Slot[]
  /** Places that are no more; workers of theirs may drain yet. */
  readonly removed: Set<Slot>
  all(): Slot[]
  /** Those that serve, or are ready to. */
  current(): Worker[]
  /** The same with the time that each has served, in milliseconds. */
  served(): Iterable<readonly [worker: Worker, served: number]>
  slotOf(worker: Worker): Slot | undefined
  /** Also when all have ended: whoever serves first has to have a name. */
  processes(): GenerationProcess[]
  /** Null where one of them doesn't say so in time. */
  connections(): Promise<ConnectionCounts | null>
  /** Of those that say so, as one that hangs must not hide what the others do; null where none does. */
  tally(): Promise<Tally | null>
  /** Each worker hears how many there are, and who goes on as the master if the master is lost: the first that stays. */
  tell(): void
}

export function createRoll(): Roll {
  const slots: Slot[] = []
  const removed = new Set<Slot>()
  return { slots, removed, all, current, served, slotOf, processes, connections, tally, tell }

  function all(): Slot[] {
    return [...slots, ...removed]
  }

  function current(): Worker[] {
    return slots.flatMap(slot => slot.current() ?? [])
  }

  function* served(): Iterable<readonly [Worker, number]> {
    for (const slot of slots) {
      const worker = slot.current()
      if (worker !== undefined) yield [worker, slot.served()]
    }
  }

  function slotOf(worker: Worker): Slot | undefined {
    return slots.find(slot => slot.current() === worker)
  }

  function processes(): GenerationProcess[] {
    const alive = all().flatMap(slot => slot.processes())
    return alive.length > 0 ? alive : (slots[0]?.lastProcesses() ?? [])
  }

  async function connections(): Promise<ConnectionCounts | null> {
    const counts = await Promise.all(processes().map(each => each.connections()))
    return counts.every(each => each !== null) ? sumCounts(counts) : null
  }

  async function tally(): Promise<Tally | null> {
    const tallies = (await Promise.all(current().map(worker => worker.tally()))).filter(each => each !== null)
    return tallies.length === 0 ? null : tallies.reduce(sumTallies)
  }

  function tell(): void {
    const workers = current()
    const heir = slots.find(slot => slot.current() && !slot.isLeaving())?.current() ?? workers[0]
    if (heir === undefined) return
    const news = { workers: slots.length, heir: mainPid(heir), pids: workers.map(mainPid) }
    for (const worker of workers) worker.tellTeam(news)
  }
}

function sumTallies(one: Tally, other: Tally): Tally {
  return {
    responses: one.responses + other.responses,
    errors: one.errors + other.errors,
    connections: (one.connections ?? 0) + (other.connections ?? 0),
    erring: (one.erring ?? 0) + (other.erring ?? 0)
  }
}
