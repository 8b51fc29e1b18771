import { ask } from '../client/ask.js'
import type { Progress } from '../control/messages.js'
import { GracefulUpgradeError } from '../errors.js'
import { createDeferred } from '../time/deferred.js'
import type { Outcome, UnderWay } from './change.js'

/** Asks a supervised server to upgrade. @param signal gives up waiting */
export function beginUpgrade(control: string, signal: AbortSignal): UnderWay {
  const begun = performance.now()
  const ready = createDeferred<Outcome>()
  let outcome: Outcome = {}
  /** Until it serves, be it on probation. */
  let boot: number | undefined
  const over = ask(control, 'reload', hear, signal).then(
    () => outcome,
    error => fail(error)
  )
  over.then(ready.resolve, ready.reject)
  return { ready: ready.promise, over }

  function hear(progress: Progress): void {
    if (progress.stage === 'booting') outcome = { generation: progress.generation }
    if (progress.stage === 'probation') boot ??= performance.now() - begun
    if (progress.stage === 'ready') {
      outcome = { generation: progress.generation, boot: boot ?? performance.now() - begun }
      ready.resolve(outcome)
    }
    if (progress.stage === 'retired') outcome = { ...outcome, ...endOf(progress) }
  }

  /** What is not waited for any longer has not failed. */
  function fail(error: unknown): Outcome {
    if (!(error instanceof GracefulUpgradeError)) throw error
    if (signal.aborted) return outcome
    const { code, message, lastWords } = error
    return { ...outcome, failure: { code, message, ...(lastWords !== undefined && { lastWords }) } }
  }
}

function endOf({ ms, code, signal, report }: Extract<Progress, { stage: 'retired' }>): Outcome {
  const badEnd = signal ?? (code ? `exit code ${code}` : undefined)
  return { drain: ms, ...(badEnd != null && { badEnd }), ...(report && { report }) }
}
