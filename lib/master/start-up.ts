import { type ErrorCode, GracefulUpgradeError } from '../errors.js'
import { type CheckFailure, describeCheckFailure } from '../protocol/check-failure.js'
import { createDeferred } from '../time/deferred.js'
import { afterReading } from '../time/event-loop.js'
import type { Ending } from './generation.js'
import type { WorkerProcess } from './spawn.js'

/** A worker's way from its start until it can serve, or to what keeps it from that. */
export interface StartUp {
  /** Resolves with the keys of the inherited listeners that it didn't claim. */
  readonly ready: Promise<readonly string[]>
  /** The worker says that it listens, but doesn't pass its check: that is why, if it goes on until the time is over. */
  unchecked(failure: CheckFailure): void
  /** The worker says that it can serve. */
  succeed(unclaimed: readonly string[]): void
  fail(error: GracefulUpgradeError): void
}

export interface StartUpOptions {
  /** Of what starts, in errors. */
  readonly name: string
  /** In milliseconds. */
  readonly readyTimeout: number
  /** Whether anything of the worker has listened. */
  hasListened(): boolean
}

/** It ends with the first of: a word of the worker, its end, the time. */
export function watchStartUp(
  worker: WorkerProcess,
  { name, readyTimeout, hasListened }: StartUpOptions
): StartUp {
  const { pid, failed, ended, lastWords } = worker
  const { promise: ready, resolve, reject } = createDeferred<readonly string[]>()
  let check: CheckFailure | undefined
  const stopTimer = afterReading(readyTimeout, () => fail(tooLate()))
  ready.catch(() => {}) // whoever wants to know waits for it
  void failed.then(fail)
  if (pid !== 0) void ended.then(onEnd)
  return { ready, unchecked, succeed, fail }

  function unchecked(failure: CheckFailure): void {
    check = failure
  }

  function succeed(unclaimed: readonly string[]): void {
    stopTimer()
    resolve(unclaimed)
  }

  function fail(error: GracefulUpgradeError): void {
    stopTimer()
    reject(error)
  }

  async function onEnd({ code, signal }: Ending): Promise<void> {
    stopTimer()
    await lastWords.heard()
    const how = signal === null ? `with code ${code}` : `by ${signal}`
    fail(failure('GRACEFUL_UPGRADE_EXITED', `ended ${how}${code === 0 ? hint() : ''}`))
  }

  function tooLate(): GracefulUpgradeError {
    const time = `readyTimeout (${readyTimeout} ms)`
    if (check === undefined)
      return failure('GRACEFUL_UPGRADE_READY_TIMEOUT', `took longer than ${time}${hint()}`)
    const detail = `was given ${time}, and ${describeCheckFailure(check)}`
    return failure('GRACEFUL_UPGRADE_CHECK_FAILED', detail)
  }

  function failure(code: ErrorCode, what: string): GracefulUpgradeError {
    const detail = `${name} (pid ${pid}) ${what}`
    return new GracefulUpgradeError(code, detail, { lastWords: lastWords.text() })
  }

  /** It may have failed for any reason; but one that has never listened may not know how. */
  function hint(): string {
    if (hasListened()) return ''
    return ', and nothing of it has listened: does it call listen(), and register fastify-graceful-upgrade before?'
  }
}
