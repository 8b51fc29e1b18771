/** What a worker has to know of the others of its generation. */
export interface TeamNews {
  /** How many there are, with itself. */
  readonly workers: number
  /** The process that goes on as the master if the master is lost. */
  readonly heir: number
  /** All of them. */
  readonly pids: readonly number[]
}

export interface ShareRequest {
  /** From 0 to 1: of the connections that are answered meanwhile. */
  readonly share: number
  /** `move`: they are given to the other workers, open. `close`: their next response says `Connection: close`. */
  readonly how: 'move' | 'close'
}

/** What has become of a `ShareRequest`. */
export interface Shared {
  /** How many were to go. */
  readonly wanted: number
  /** How many have gone. */
  readonly gone: number
}
