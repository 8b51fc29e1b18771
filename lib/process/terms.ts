import type { ResolvedOptions } from '../options/given.js'
import type { ProbationTerms } from '../protocol/probation.js'

/** What this generation wants of its probation. */
export function termsOf({
  probation: time,
  probationShare: share,
  probationErrorRate: errorRate
}: ResolvedOptions): ProbationTerms {
  return { time, share, errorRate }
}
