import { createDeferred } from '../time/deferred.js'
import { lastOf, type Phase } from './phase.js'
import type { Roster } from './roster.js'

type Closing = Extract<Phase, { name: 'closing' }>

/** The end of all that a master has started. */
export interface ClosingBegun {
  readonly phase: Closing
  /** How long that may take, in milliseconds. */
  readonly endTimeout: number
  /** Drains and ends every generation; then `phase.done` resolves with the exit code of the one that served. */
  closeAll(): void
}

/** Gives up what is under way, and lets go of the listeners: clients would wait here for nobody. */
export function beginClosing(
  was: Exclude<Phase, Closing>,
  { roster, signal }: { readonly roster: Roster; readonly signal: NodeJS.Signals | null }
): ClosingBegun {
  const dead = 'replacement' in was ? was.replacement.dead : undefined
  const last = lastOf(was)
  if (was.name === 'upgrading') was.boot.giveUp()
  if (was.name === 'probation') was.trial.giveUp()
  if (was.name === 'replacing') was.replacement.stop()
  if (last !== undefined) roster.drains(last)
  const done = createDeferred<number>()
  const draining = roster.list().map(({ generation }) => generation)
  const endTimeout = Math.max(0, ...draining.map(generation => generation.endTimeout))
  for (const holder of new Set(dead ? [...draining, dead] : draining)) holder.release()
  return {
    phase: { name: 'closing', done: done.promise },
    endTimeout,
    closeAll: () => done.resolve(untilEnded())
  }

  async function untilEnded(): Promise<number> {
    const endings = new Map(draining.map(generation => [generation, generation.close(signal)]))
    await Promise.all(endings.values())
    const ending = last && (await endings.get(last))
    return ending?.code ?? (was.name === 'starting' ? 0 : 1)
  }
}

/** The application of the master's own process has closed itself: an upgrade under way is given up. */
export function abandoned(was: Phase, roster: Roster): Phase {
  if (was.name === 'probation') {
    was.trial.giveUp()
    void was.trial.candidate.close(null)
  } else if (was.name === 'upgrading') was.boot.giveUp()
  else return was
  roster.gone(was.current)
  return { name: 'closing', done: Promise.resolve(0) }
}
