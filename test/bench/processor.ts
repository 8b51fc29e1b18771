import { readdirSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** What takes the machine's time. */
export interface Busy {
  /** This process and the server that it measures: a share of the time of all cores, from 0 to 1. */
  readonly own: number
  /** Whatever else runs on this machine: the same. */
  readonly others: number
  /** All processes of the server, in milliseconds of CPU time. */
  readonly server: number
}

/** What Linux counts in /proc, in milliseconds. */
const tick = 10

/** @param group the process group of the server */
export async function busyDuring(group: number, work: () => Promise<unknown>): Promise<Busy> {
  const before = times(group)
  await work()
  const after = times(group)
  const total = after.total - before.total
  const server = after.server - before.server
  const own = (after.client - before.client + server) / total
  return { own, others: Math.max((after.used - before.used) / total - own, 0), server }
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

function times(group: number) {
  const { user, system } = process.cpuUsage()
  return { ...machineTime(), client: (user + system) / 1_000, server: groupTime(group) }
}

/** Those that have ended count with their parent. Not a number where there is no /proc. */
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
