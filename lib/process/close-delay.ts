import type { Server } from 'node:net'
import { connectionsOf } from '../connections/connections.js'
import { announceClose, type CloseAnnouncement } from '../drain/http1.js'
import { createDeferred } from '../time/deferred.js'
import { wholeTurn } from '../time/event-loop.js'

/**
 * The time between a signal that ends this process and its drain. It accepts and serves on, as whoever sends it requests takes some
 * time to stop; but its responses carry `Connection: close`, so that its clients come again elsewhere.
 */
export interface CloseDelay {
  /** Until the promise of `begin()` is resolved, so that no request is answered as if nothing ended. */
  readonly isUnderWay: boolean
  /**
   * Begins it, once.
   * @param ms how long it is
   * @returns resolves when it is over, and whoever has connected by then is accepted: the end of the listening socket would
   *   reset their connections
   */
  begin(ms: number): Promise<void>
  /**
   * One that has not begun never will.
   * @returns whether it was under way
   */
  skip(): boolean
}

/** @param servers of this process, when it begins */
export function createCloseDelay(servers: () => readonly Server[]): CloseDelay {
  const over = createDeferred()
  let life: 'ahead' | 'under way' | 'ending' | 'over' = 'ahead'
  let announcement: CloseAnnouncement | undefined
  let timer: NodeJS.Timeout | undefined
  return {
    get isUnderWay() {
      return life === 'under way' || life === 'ending'
    },
    begin(ms) {
      if (life === 'ahead') start(ms)
      return over.promise
    },
    skip() {
      const was = life
      if (was === 'under way') void end()
      else if (was === 'ahead') finish()
      return was === 'under way'
    }
  }

  function start(ms: number): void {
    life = 'under way'
    timer = setTimeout(end, ms)
    announcement = announceClose(new Map(servers().map(server => [server, connectionsOf(server)])), {
      wants: () => true,
      onResponseEnd() {}
    })
  }

  async function end(): Promise<void> {
    life = 'ending'
    clearTimeout(timer)
    await wholeTurn()
    finish()
  }

  function finish(): void {
    life = 'over'
    announcement?.stop()
    over.resolve()
  }
}
