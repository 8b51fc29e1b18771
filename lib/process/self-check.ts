import { type CheckFailure, describeCheckFailure } from '../protocol/check-failure.js'
import { idlePause } from '../time/pause.js'
import type { Application } from './application.js'
import { runCheck } from './check.js'

export interface SelfCheckOptions {
  /** Is told what is asked, before anything has failed, and waited for: if that never ends, it is why. */
  onAsk?(request: string): Promise<void>
  /** Is told each time that something else fails than before. */
  onFailure(failure: CheckFailure): void
  /** Nobody wants to know any more. */
  readonly over: AbortSignal
}

/** Between two rounds, in milliseconds. */
const pause = 1_000

/**
 * Every instance of the application asks itself, again each second.
 * Resolves when all checks have passed in one round, at once where there are none; never if the application ends before.
 */
export async function passSelfCheck(
  application: Pick<Application, 'instances' | 'ending' | 'log'>,
  { onAsk, onFailure, over }: SelfCheckOptions
): Promise<void> {
  let told: string | undefined
  if (asked(application).length === 0) return
  while (!(await passes())) await idlePause(pause)
  // One that has closed its instances meanwhile has none that fails.
  if (isOver()) return new Promise(() => {})
  if (told !== undefined) application.log.info('check passed')

  function isOver(): boolean {
    return over.aborted || application.ending || application.instances.size === 0
  }

  async function passes(): Promise<boolean> {
    for (const { app, options, booted } of asked(application)) {
      if (isOver()) return true
      if (!booted) return false // to ask it would end its boot
      const failure = await runCheck(app, options, told === undefined ? onAsk : undefined)
      if (failure === undefined) continue
      if (!isOver()) tell(failure)
      return isOver()
    }
    return true
  }

  function tell(failure: CheckFailure): void {
    const text = describeCheckFailure(failure)
    if (text === told) return
    told = text
    onFailure(failure)
  }
}

/**
 * The same while it serves, until one fails.
 * @param onFailure is told once
 * @returns ends it
 */
export function watchSelfCheck(
  application: Pick<Application, 'instances'>,
  onFailure: (failure: CheckFailure) => void
): () => void {
  const over = new AbortController()
  void watch()
  return () => over.abort()

  async function watch(): Promise<void> {
    while (asked(application).length > 0) {
      await idlePause(pause, over.signal)
      for (const { app, options } of asked(application)) {
        if (over.signal.aborted) return
        const failure = await runCheck(app, options)
        if (over.signal.aborted) return
        if (failure !== undefined) return onFailure(failure)
      }
    }
  }
}

function asked({ instances }: Pick<Application, 'instances'>) {
  return [...instances].filter(({ options }) => options.check !== false)
}
