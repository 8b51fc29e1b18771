import { askStatus } from '../client/watch.js'
import type { Status } from '../control/messages.js'
import { idlePause } from '../time/pause.js'
import type { ChangeReport } from './report.js'

/** Resident set sizes of each generation of a server: the most that was seen. */
export interface Memory {
  /** Of the generation that a change has led to, and of the one before it, in bytes. */
  around(generation: number | undefined): Pick<ChangeReport, 'memory'>
}

/** Between two looks, in milliseconds. */
const interval = 500

/** @param control where the server is asked; undefined if it can't be @param signal ends it */
export function watchMemory(control: string | undefined, signal: AbortSignal): Memory {
  const memory = new Map<number, number>()
  if (control !== undefined) void look(control)
  return { around }

  async function look(control: string): Promise<void> {
    while (!signal.aborted) {
      try {
        for (const [generation, bytes] of sizesOf(await askStatus(control, signal)))
          memory.set(generation, Math.max(bytes, memory.get(generation) ?? 0))
      } catch {} // it ends, or is busy
      await idlePause(interval, signal)
    }
  }

  function around(generation: number | undefined): Pick<ChangeReport, 'memory'> {
    if (generation === undefined) return {}
    const [old, next] = [memory.get(generation - 1), memory.get(generation)]
    return { memory: { ...(old !== undefined && { old }), ...(next !== undefined && { next }) } }
  }
}

/** Of those whose workers have said so. */
function sizesOf({ generations }: Status): [generation: number, bytes: number][] {
  return generations.flatMap(({ generation, workers = [] }) => {
    const bytes = workers.reduce((sum, { rss }) => sum + (rss ?? 0), 0)
    return bytes > 0 ? [[generation, bytes] as [number, number]] : []
  })
}
