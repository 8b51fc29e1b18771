import type { EventEmitter } from 'node:events'
import { nameCut, totalFate } from '../drain/report.js'
import type { Log } from '../log.js'
import { now } from '../time/clock.js'
import type { MasterEvents } from './events.js'
import { type Generation, nameOf, type Retirement } from './generation.js'
import type { Roster } from './roster.js'

export interface RetireOptions {
  readonly log: Log
  readonly events: EventEmitter<MasterEvents>
  readonly roster: Roster
}

/**
 * Lets a generation drain and end for another one that serves, in its own time, and says what has become of it.
 * @param isUrgent the other one is warmed up: all of its connections go at once
 */
export async function retire(
  old: Generation,
  { log, events, roster }: RetireOptions,
  isUrgent = false
): Promise<void> {
  const begun = now()
  roster.drains(old)
  const retirement = await old.retire(isUrgent)
  const ms = Math.round(now() - begun)
  log.info({ ...nameOf(old), ms, ...outcomeOf(retirement) }, 'generation retired')
  roster.gone(old)
  old.release()
  events.emit('retired', old, retirement, ms)
}

/** What the log says of how it went. */
export function outcomeOf({ code, signal, report }: Retirement): object {
  if (report === null) return { code, signal }
  const { refused, longestPause, kinds, cutOff } = report
  return { code, signal, ...totalFate({ kinds }), refused, longestPause, ...nameCut(cutOff) }
}
