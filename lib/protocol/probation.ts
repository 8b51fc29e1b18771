/** How long a generation wants to be on probation, and on which terms. */
export interface ProbationTerms {
  /** In milliseconds; 0 for not at all. */
  readonly time: number
  /** Of the connections of the one before it, from 0 to 1. */
  readonly share: number
  /** So many of its responses may be 5xx, whatever the other one does: from 0 to 1. */
  readonly errorRate: number | false
}

/** What a process has answered since two generations serve. Those of HTTP/1.1, as Node.js tells of no others. */
export interface Tally {
  readonly responses: number
  /** Of them, those with a status of 500 or above. */
  readonly errors: number
  /** So many connections had one of them. An older version doesn't say so. */
  readonly connections?: number
  /** Of these, those that had an error. */
  readonly erring?: number
}
