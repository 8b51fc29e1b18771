import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Shares of the time of all cores, from 0 to 1. */
export interface Busy {
  /** This process and the server that it measures. */
  readonly own: number
  /** Whatever else runs on this machine. */
  readonly others: number
}

/** What Linux counts in /proc, in milliseconds. */
const tick = 10

/** @param group the process group of the server */
export async function busyDuring(group: number, work: () => Promise<unknown>): Promise<Busy> {
  const before = { ...machineTime(), own: ownTime(group) }
  await work()
  const after = { ...machineTime(), own: ownTime(group) }
  const total = after.total - before.total
  const own = (after.own - before.own) / total
  return { own, others: Math.max((after.used - before.used) / total - own, 0) }
}

function machineTime(): { readonly used: number; readonly total: number } {
  let used = 0
  let total = 0
  for (const { times } of cpus()) {
    used += times.user + times.nice + times.sys + times.irq
    total += times.user + times.nice + times.sys + times.irq + times.idle
  }
  return { used, total }
}

/** Not a number where there is no /proc. */
function ownTime(group: number): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1_000 + groupTime(group)
}

/** Those that have ended count with their parent. */
function groupTime(group: number): number {
  let ticks = 0
  try {
    for (const pid of readdirSync('/proc').filter(name => /^\d+$/.test(name))) ticks += ticksOf(pid, group)
  } catch {
    return Number.NaN
  }
  return ticks * tick
}

function ticksOf(pid: string, group: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [, , processGroup, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (Number(processGroup) !== group) return 0
    return fields.slice(8, 12).reduce((sum, field) => sum + Number(field), 0)
  } catch {
    return 0 // it has just ended
  }
}
