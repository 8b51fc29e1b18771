import type { OpenListener } from '../listeners/address.js'
import type { Slot } from './slot.js'

/** A listener of a team, and which of its workers have it. */
export interface TeamListener extends OpenListener {
  readonly workers?: readonly number[]
  /** Of how many. */
  readonly of?: number
}

/** Those of all workers, each once: they share the sockets. */
export function listenersOf(slots: readonly Slot[]): TeamListener[] {
  const byKey = new Map<string, OpenListener & { readonly workers: number[] }>()
  for (const slot of slots) {
    for (const listener of slot.listeners()) {
      const known = byKey.get(listener.key)
      if (known === undefined) byKey.set(listener.key, { ...listener, workers: [slot.index] })
      else if (!known.workers.includes(slot.index)) known.workers.push(slot.index)
    }
  }
  return [...byKey.values()].map(listener => ({ ...listener, of: slots.length }))
}

/**
 * What a worker is born with: all, as any worker may want any of them. One that its predecessor in the same place did not
 * want is not waited for; where there was none in this place, one that not all of the others wanted.
 */
export function inheritedFor(index: number, listeners: readonly TeamListener[]): OpenListener[] {
  return listeners.map(({ workers, of = 1, ...listener }) => {
    if (workers === undefined || workers.includes(index)) return listener
    return index < of || workers.length < of ? { ...listener, isOptional: true } : listener
  })
}
