import type { Log } from '../log.js'
import { type Boot, failsToLive } from '../master/boot.js'
import { mainPid, type Worker } from '../master/generation.js'
import { createReplacement, type Replacement } from '../master/replacement.js'
import { createRespawn } from '../master/respawn.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'

/** How one worker of several comes in the place of another. */
export interface Succession {
  isUnderWay(): boolean
  /**
   * Starts another one, again and again until one is ready; the first time at once.
   * @param old its listeners are released when another one is ready
   * @param reason 'death' counts as one more in a row of failures, before which there are pauses
   */
  begin(old: Worker, reason: 'death' | 'wish'): void
  /** @param time how long one has served that does so no more, in milliseconds */
  served(time: number): void
  /** None is to follow any more. */
  stop(): void
}

export interface SuccessionOptions {
  readonly log: Log
  readonly generation: number
  /** Which place it is. */
  readonly worker: number
  /** @throws GRACEFUL_UPGRADE_SPAWN_FAILED */
  spawn(): Worker
  /** Is waited for before a successor takes over. */
  prepare(): Promise<void>
  onReady(next: Worker, ms: number): void
  /** It will never serve. */
  onFailed(next: Worker): void
  takeOver(old: Worker, next: Worker): void
  now(): number
}

/** Longest pause between two attempts to replace a worker, in milliseconds: its siblings serve, so nobody gives up. */
const longestPause = 30_000

export function createSuccession(options: SuccessionOptions): Succession {
  const { log, generation, worker, now, spawn, prepare, onReady, onFailed, takeOver } = options
  const respawn = createRespawn()
  let replacement: Replacement | undefined
  return {
    isUnderWay: () => replacement !== undefined,
    begin(old, reason) {
      let isWish = reason === 'wish'
      replacement = createReplacement(old, {
        log,
        respawn: { ...respawn, nextPause },
        boot,
        onReady(next) {
          replacement = undefined
          takeOver(old, next as Worker)
        },
        onGiveUp() {}
      })
      replacement.begin()

      function nextPause(): number {
        if (!isWish) return respawn.nextPause() ?? longestPause
        isWish = false
        return 0
      }
    },
    served: respawn.served,
    stop() {
      replacement?.stop()
      replacement = undefined
    }
  }

  function boot(): Boot {
    const begun = now()
    const next = started()
    return { next, result: whenReady(next, begun), giveUp: next.kill }
  }

  function started(): Worker {
    try {
      return spawn()
    } catch (error) {
      throw failure(error)
    }
  }

  async function whenReady(next: Worker, begun: number): Promise<UpgradeResult> {
    try {
      await next.ready
      await Promise.race([prepare(), failsToLive(next)])
    } catch (error) {
      next.kill()
      onFailed(next)
      throw replacement === undefined ? error : failure(error) // nobody wants it any more
    }
    const ms = Math.round(now() - begun)
    onReady(next, ms)
    return { generation, pid: mainPid(next), ms }
  }

  function failure(error: unknown): unknown {
    log.error({ err: error, generation, worker }, 'worker failed to start')
    return error
  }
}
