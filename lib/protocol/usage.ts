/** What a worker's process has used since its start: of two answers the difference tells. */
export interface Usage {
  /** Time in which its event loop was busy, in milliseconds: `performance.eventLoopUtilization()`. */
  readonly active: number
  /** Time in which it had nothing to do, in milliseconds. */
  readonly idle: number
  /** CPU time of all its threads, in milliseconds. */
  readonly cpu: number
  /** Since its start, in milliseconds. */
  readonly uptime: number
  /** Resident set size, in bytes. */
  readonly rss: number
}
