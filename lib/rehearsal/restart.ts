import { GracefulUpgradeError } from '../errors.js'
import { createDeferred } from '../time/deferred.js'
import type { Outcome, UnderWay } from './change.js'
import type { Server } from './server.js'

/** How long a server that was told to end may take, in milliseconds. */
const closeLimit = 30_000

/**
 * A plain stop and start, in the place of an upgrade.
 * @param isGraceful SIGTERM, and the application ends by itself; else it ends at once, as one that has no handler for SIGTERM
 * @param start the next one; resolves when it serves
 */
export function beginRestart(old: Server, isGraceful: boolean, start: () => Promise<void>): UnderWay {
  const begun = performance.now()
  const result = createDeferred<Outcome>()
  void run().then(result.resolve, result.reject)
  return { ready: result.promise, over: result.promise }

  async function run(): Promise<Outcome> {
    if (isGraceful) await old.stop(closeLimit)
    else await old.kill()
    const drain = performance.now() - begun
    try {
      await start()
    } catch (error) {
      if (!(error instanceof GracefulUpgradeError)) throw error
      const { code, message, lastWords } = error
      return { drain, failure: { code, message, ...(lastWords !== undefined && { lastWords }) } }
    }
    return { drain, boot: performance.now() - begun }
  }
}
