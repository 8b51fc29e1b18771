import * as clock from '../time/clock.js'
import type { Ending, Generation } from './generation.js'

/** What a generation is doing. */
export interface GenerationEntry {
  readonly generation: Generation
  readonly state: 'booting' | 'probation' | 'serving' | 'draining'
  /** Since when, by `time/clock.ts`. */
  readonly since: number
}

/** Which generations there are, what each of them does, and since when. It knows; to act is the master's. */
export interface Roster {
  /** The one that serves first, then one on probation or one that boots, then those that drain. */
  list(): GenerationEntry[]
  serving(): Generation | undefined
  isDraining(generation: Generation): boolean
  boots(generation: Generation): void
  probes(generation: Generation): void
  serves(generation: Generation): void
  drains(generation: Generation): void
  /** It has ended, or will never serve. */
  gone(generation: Generation): void
  /**
   * Notes that it has died, or is about to: until it drains or is gone, it stays listed as it was.
   * @returns false if that is no news: it was to end anyway, or has died before
   */
  died(generation: Generation, ending: Ending): boolean
  /** How one that serves has died; undefined if it lives. */
  death(generation: Generation): Ending | undefined
  /** How long one has served that does so now, or has until its death, in milliseconds. */
  timeServed(generation: Generation): number
}

type Entry = GenerationEntry & { readonly death?: { readonly ending: Ending; readonly time: number } }

const order: readonly GenerationEntry['state'][] = ['serving', 'probation', 'booting', 'draining']

export function createRoster(now: () => number = clock.now): Roster {
  /** In the order in which each has come to its state. */
  const entries = new Map<Generation, Entry>()
  return {
    list() {
      return order.flatMap(state =>
        [...entries.values()]
          .filter(entry => entry.state === state)
          .map(({ generation, since }) => ({ generation, state, since }))
      )
    },
    serving: () => [...entries.values()].find(({ state }) => state === 'serving')?.generation,
    isDraining: generation => entries.get(generation)?.state === 'draining',
    boots: generation => enter(generation, 'booting'),
    probes: generation => enter(generation, 'probation'),
    serves: generation => enter(generation, 'serving'),
    drains(generation) {
      if (entries.get(generation)?.state !== 'draining') enter(generation, 'draining')
    },
    gone: generation => void entries.delete(generation),
    died(generation, ending) {
      const entry = entries.get(generation)
      if (entry?.state !== 'serving' || entry.death !== undefined) return false
      entries.set(generation, { ...entry, death: { ending, time: now() } })
      return true
    },
    death: generation => entries.get(generation)?.death?.ending,
    timeServed(generation) {
      const entry = entries.get(generation)
      return entry?.state === 'serving' ? (entry.death?.time ?? now()) - entry.since : 0
    }
  }

  function enter(generation: Generation, state: GenerationEntry['state']): void {
    entries.delete(generation)
    entries.set(generation, { generation, state, since: now() })
  }
}
