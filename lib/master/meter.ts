import type { Usage } from '../protocol/usage.js'
import * as clock from '../time/clock.js'
import type { Load } from './generation.js'

/** Shortest time that a load is made out of, in milliseconds: of less it would be chance. */
const shortest = 200

/**
 * Makes loads of what a process has used.
 * @param measure null where it doesn't say so in time
 * @returns the load since the look before; where that was just now, what it has found
 */
export function createMeter(
  measure: () => Promise<Usage | null>,
  now: () => number = clock.now
): () => Promise<Load | null> {
  let last: { readonly usage: Usage; readonly at: number; readonly load?: Load } | undefined
  let looking: Promise<Load | null> | undefined
  return () => {
    // Of two answers that come at once, as from one that was busy, the second would be made out of no time.
    looking ??= look().finally(() => {
      looking = undefined
    })
    return looking
  }

  async function look(): Promise<Load | null> {
    if (last?.load !== undefined && now() - last.at < shortest) return last.load
    const usage = await measure()
    if (usage === null) return null
    const load = loadBetween(last?.usage ?? nothing, usage)
    last = { usage, at: now(), load }
    return load
  }
}

const nothing: Usage = { active: 0, idle: 0, cpu: 0, uptime: 0, rss: 0 }

/** The event loop of a process that boots begins late; its CPU time doesn't. */
function loadBetween(before: Usage, { active, idle, cpu, uptime, rss }: Usage): Load {
  const busy = active - before.active
  return {
    elu: share(busy, busy + idle - before.idle),
    cpu: share(cpu - before.cpu, uptime - before.uptime),
    rss
  }
}

function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}
