import type { Worker } from '../master/generation.js'

/** The workers that are to be replaced while they serve: one at a time. */
export interface Recycling {
  add(worker: Worker): void
  /** None begins while it is held. */
  hold(value: boolean): void
  stop(): void
}

/** @param recycle resolves when it has made way, at once if another one has its place already */
export function createRecycling(recycle: (worker: Worker) => Promise<void>): Recycling {
  const waiting = new Set<Worker>()
  let state: 'free' | 'busy' | 'stopped' = 'free'
  let isHeld = false
  return {
    add(worker) {
      waiting.add(worker)
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
    const [worker] = waiting
    if (worker === undefined || state !== 'free' || isHeld) return
    waiting.delete(worker)
    state = 'busy'
    await recycle(worker)
    if (stillBusy()) state = 'free'
    return next()
  }

  /** It may have been stopped meanwhile. */
  function stillBusy(): boolean {
    return state === 'busy'
  }
}
