import type { Server } from 'node:net'
import { connectionsOf } from '../connections/connections.js'
import { createDeferred } from '../deferred.js'
import { announceClose } from '../drain/http1.js'

/**
 * The time between a signal that ends this process and its drain. It accepts and serves on, as whoever sends it requests takes some
 * time to stop; but its responses carry `Connection: close`, so that its clients come again elsewhere.
 */
export interface CloseDelay {
  readonly isUnderWay: boolean
  /**
   * Begins it, once.
   * @param ms how long it is
   * @returns resolves when it is over
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
  let end: (() => void) | undefined
  let isOver = false
  return {
    get isUnderWay() {
      return end !== undefined && !isOver
    },
    begin(ms) {
      if (end === undefined && !isOver) end = start(ms)
      return over.promise
    },
    skip() {
      if (isOver) return false
      const wasUnderWay = end !== undefined
      finish()
      return wasUnderWay
    }
  }

  function start(ms: number): () => void {
    const announcement = announceClose(new Map(servers().map(server => [server, connectionsOf(server)])), {
      wants: () => true,
      onResponseEnd() {}
    })
    const timer = setTimeout(finish, ms)
    return () => {
      clearTimeout(timer)
      announcement.stop()
    }
  }

  function finish(): void {
    isOver = true
    end?.()
    over.resolve()
  }
}
