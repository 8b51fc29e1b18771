import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenListener } from '../listeners/address.js'
import { inheritedFor, listenersOf, type TeamListener } from './listeners.js'
import type { Slot } from './slot.js'

export interface TeamBoot {
  /** How many there shall be. */
  readonly workers: number
  /** What the team is born with. */
  readonly inherited: readonly TeamListener[]
  /** Those that have been started. */
  readonly slots: readonly Slot[]
  /**
   * Starts the one with this index; a second time if it has failed. Resolves with what it didn't claim, when it is ready.
   * @throws GRACEFUL_UPGRADE_SPAWN_FAILED
   */
  boot(worker: number, listeners: readonly OpenListener[]): Promise<readonly string[]>
  /** So many are started at a time. @default half as many as there are cores */
  readonly lanes?: number
  /** @default 250 */
  readonly settleTime?: number
}

/** A team on its way to serve. */
export interface TeamBooting {
  /** Resolves with what worker 0 didn't claim, when it is ready. */
  readonly first: Promise<readonly string[]>
  /** Starts the others behind it. Resolves with what none of them has claimed; rejects with what has failed first. */
  others(): Promise<readonly string[]>
}

/**
 * Starts worker 0 alone, so that a broken version costs one start.
 * @throws GRACEFUL_UPGRADE_SPAWN_FAILED at once if it is clear then
 */
export function bootTeam(team: TeamBoot): TeamBooting {
  const first = team.boot(0, inheritedFor(0, team.inherited))
  return { first, others: () => bootOthers(team, first) }
}

async function bootOthers(team: TeamBoot, first: Promise<readonly string[]>): Promise<readonly string[]> {
  const { workers, inherited, lanes = Math.max(1, Math.floor(availableParallelism() / 2)) } = team
  const unclaimed = [await first]
  if (workers > 1 && inherited.length === 0) await settled(team)
  let next = 1
  await Promise.all(Array.from({ length: lanes }, lane))
  return inherited.map(({ key }) => key).filter(key => unclaimed.every(keys => keys.includes(key)))

  async function lane(): Promise<void> {
    while (next < workers) unclaimed.push(await bootOne(team, next++))
  }
}

/** What worker 0 has opened meanwhile is what another one failed for, as it could not inherit it. */
async function bootOne(team: TeamBoot, worker: number): Promise<readonly string[]> {
  const listeners = listenersNow(team)
  try {
    return await team.boot(worker, inheritedFor(worker, listeners))
  } catch (error) {
    const now = listenersNow(team)
    if (now.length === listeners.length) throw error
    return team.boot(worker, inheritedFor(worker, now))
  }
}

/**
 * Those that the team is born with, and what its workers have opened themselves: of that nobody knows who else wants it. What a
 * worker has is taken from that one: on a probation those that the team is born with are closed when the workers of the
 * generation before it are replaced.
 */
function listenersNow({ inherited, slots }: TeamBoot): TeamListener[] {
  const own = new Map(listenersOf(slots).map(({ workers, of, ...listener }) => [listener.key, listener]))
  const born = inherited.map(listener => ({ ...listener, fd: own.get(listener.key)?.fd ?? listener.fd }))
  for (const { key } of inherited) own.delete(key)
  return [...born, ...own.values()]
}

/** The first worker of all is ready when it listens, but it may go on to listen elsewhere. */
async function settled({ slots, settleTime = 250 }: TeamBoot): Promise<void> {
  for (let before = -1; ; ) {
    const now = slots[0]?.listeners().length ?? 0
    if (now === before) return
    before = now
    await sleep(settleTime)
  }
}
