import type { Usage } from '../protocol/usage.js'

/** What this process has used since its start. */
export function usage(): Usage {
  const { active, idle } = performance.eventLoopUtilization()
  const { user, system } = process.cpuUsage()
  return {
    active,
    idle,
    cpu: (user + system) / 1_000,
    uptime: process.uptime() * 1_000,
    rss: residentSetSize()
  }
}

/** In bytes; where no descriptor is left to look it up, the most that it ever was. */
function residentSetSize(): number {
  try {
    return process.memoryUsage.rss()
  } catch {
    return process.resourceUsage().maxRSS * 1_024
  }
}
