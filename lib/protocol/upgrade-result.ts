/** What `upgrade()` resolves with. */
export interface UpgradeResult {
  /** The number of the generation that serves now. */
  readonly generation: number
  /** Its process. */
  readonly pid: number
  /** From the start of its process until it was ready, in milliseconds. */
  readonly ms: number
}
