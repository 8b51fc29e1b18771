import type { EventEmitter } from 'node:events'
import type { Log } from '../log.js'
import type { MasterEvents } from './events.js'
import { type Ending, type Generation, nameOf } from './generation.js'
import type { Phase } from './phase.js'
import type { Respawn } from './respawn.js'
import type { Roster } from './roster.js'

/** What follows on the death of a generation that serves. */
export interface Deaths {
  /** From now on it is the one that serves. */
  watch(generation: Generation): void
  /** If the one that serves is dead; in the middle of an upgrade the next one may take its place first. */
  notice(generation: Generation): void
}

export interface DeathsOptions {
  readonly log: Log
  readonly events: EventEmitter<MasterEvents>
  readonly roster: Roster
  readonly respawn: Respawn
  phase(): Phase
  /** It has ended by itself, which was its wish. */
  onEnd(): void
  replace(dead: Generation): void
}

export function createDeaths(options: DeathsOptions): Deaths {
  const { log, events, roster, respawn, phase, onEnd, replace } = options
  return {
    watch(generation) {
      void generation.ended.then(ending => onDeath(generation, ending))
      void generation.dying.then(() => onDeath(generation, { code: 1, signal: null }))
    },
    notice
  }

  function onDeath(generation: Generation, ending: Ending): void {
    if (!roster.died(generation, ending)) return
    respawn.served(roster.timeServed(generation))
    notice(generation)
  }

  function notice(generation: Generation): void {
    const now = phase()
    const death = roster.death(generation)
    if (death === undefined || now.name !== 'serving' || now.current !== generation) return
    if (death.code === 0) {
      log.info(nameOf(generation), 'generation ended by itself')
      return onEnd()
    }
    log.error({ ...nameOf(generation), ...death }, 'generation died')
    events.emit('restart', 'died')
    roster.drains(generation) // it may yet
    void generation.ended.then(() => roster.gone(generation))
    replace(generation)
  }
}
