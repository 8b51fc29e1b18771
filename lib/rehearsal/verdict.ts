import type { Plan } from './plan.js'
import type { RunReport } from './report.js'

/**
 * Whether all was well, or no worse than what is forgiven.
 * @param plan `maxFailures`: of requests, WebSockets and streams; `maxP999` of the answers around upgrades, in milliseconds
 */
export function isPassed(
  { failures, losses, findings, around }: Pick<RunReport, 'failures' | 'losses' | 'findings' | 'around'>,
  { maxFailures, maxP999 }: Pick<Plan, 'maxFailures' | 'maxP999'>
): boolean {
  if (failures + losses > maxFailures || findings.some(({ level }) => level === 'fault')) return false
  return maxP999 === undefined || (around !== undefined && around.p999 <= maxP999)
}
