import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'

/**
 * Stops the clock of timers until the end of the test.
 * @returns lets so many milliseconds pass, and then all that they have brought about
 */
export function stopTimers(t: Test): (ms: number) => Promise<void> {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  syncBuiltinESMExports()
  t.teardown(() => {
    mock.timers.reset()
    syncBuiltinESMExports()
  })
  return async ms => {
    await turn()
    mock.timers.tick(ms)
    await turn()
  }
}
