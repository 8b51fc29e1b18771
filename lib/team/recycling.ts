import type { RestartReason } from '../master/events.js'
import type { Worker } from '../master/generation.js'

/** The workers that are to be replaced while they serve: one at a time. */
export interface Recycling {
  add(worker: Worker, reason: RestartReason): void
  /** None begins while it is held. */
  hold(value: boolean): void
  stop(): void
}

/** @param recycle resolves when it has made way, at once if another one has its place already */
export function createRecycling(
  recycle: (worker: Worker, reason: RestartReason) => Promise<void>
): Recycling {
  const waiting = new Map<Worker, RestartReason>()
  let state: 'free' | 'busy' | 'stopped' = 'free'
  let isHeld = false
  return {
    add(worker, reason) {
      if (!waiting.has(worker)) waiting.set(worker, reason)
      void next()
    },
    hold(value) {
      isHeld = value
      void next()
    },
    stop() {
      state = 'stopped'
    }
  }

  async function next(): Promise<void> {
    const [first] = waiting
    if (first === undefined || state !== 'free' || isHeld) return
    const [worker, reason] = first
    waiting.delete(worker)
    state = 'busy'
    await recycle(worker, reason)
    if (stillBusy()) state = 'free'
    return next()
  }

  /** It may have been stopped meanwhile. */
  function stillBusy(): boolean {
    return state === 'busy'
  }
}
