import { setImmediate as nextTurn } from 'node:timers/promises'

/**
 * Calls back after so many milliseconds, like `setTimeout()`, but behind all that has come by then: a process that stood still hears of
 * its timers first, and would take for silence what it has not read yet.
 * @param ref whether the process lives on for it
 * @returns stops it
 */
export function afterReading(ms: number, call: () => void, { ref = true } = {}): () => void {
  let isStopped = false
  const timer = setTimeout(() => setImmediate(() => isStopped || call()), ms)
  if (!ref) timer.unref()
  return () => {
    isStopped = true
    clearTimeout(timer)
  }
}

/** Resolves when the event loop has turned once: whatever has come in by now has been read, and heard. */
export async function wholeTurn(): Promise<void> {
  await nextTurn()
  await nextTurn() // the first may be in the turn that runs
}
