import { setImmediate as nextTurn } from 'node:timers/promises'

/** Resolves when the event loop has turned once: whatever has come in by now has been read, and heard. */
export async function wholeTurn(): Promise<void> {
  await nextTurn()
  await nextTurn() // the first may be in the turn that runs
}
