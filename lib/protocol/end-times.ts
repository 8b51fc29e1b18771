/** How long the end of a worker may take, in milliseconds. */
export interface EndTimes {
  /** With the delay. */
  readonly endTimeout: number
  /** If a signal ends it, it serves on for so long before it drains; an older version doesn't say so. */
  readonly closeDelay?: number
}

/** What a process may take to end once its application has, in milliseconds. */
export const exitTime = 1_000
