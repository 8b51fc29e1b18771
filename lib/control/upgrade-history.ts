import { mainPid } from '../master/generation.js'
import type { Master } from '../master/master.js'
import type { UpgradeRecord } from './messages.js'

/** How many upgrades are remembered. */
const length = 10

/** Remembers the last upgrades of a master. @returns tells them, the newest first */
export function rememberUpgrades({ events }: Master): () => readonly UpgradeRecord[] {
  const upgrades: UpgradeRecord[] = []
  events.on('ready', ({ generation, pid, ms }) => remember({ generation, pid, ms, result: 'ready' }))
  events.on('failed', (failed, { code: result, message }, ms) =>
    remember({ generation: failed.number, pid: mainPid(failed) || null, ms, result, message })
  )
  // What has become of its connections belongs to the one that took over from it, or to itself if it was rolled back.
  events.on('retired', ({ number }, { report }) => {
    const index = upgrades.findLastIndex(({ generation, result }) =>
      result === 'ready' ? generation > number : generation === number
    )
    const next = upgrades[index]
    if (next !== undefined) upgrades[index] = { ...next, report }
  })
  return () => [...upgrades]

  function remember(record: Omit<UpgradeRecord, 'at'>): void {
    upgrades.unshift({ ...record, at: Date.now() - record.ms })
    upgrades.length = Math.min(upgrades.length, length)
  }
}
