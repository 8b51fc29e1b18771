import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Resolves after so many milliseconds, or as soon as `over` is aborted.
 * @param ref whether the process lives on for it
 */
export async function pause(ms: number, over?: AbortSignal, { ref = true } = {}): Promise<void> {
  await sleep(ms, undefined, { ref, ...(over && { signal: over }) }).catch(() => {})
}

/** The same, of which a process does not stay alive. */
export function idlePause(ms: number, over?: AbortSignal): Promise<void> {
  return pause(ms, over, { ref: false })
}
