import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.js'
import { exitTime } from '../protocol/end-times.js'
import type { Host } from '../signals/host.js'
import { now } from '../time/clock.js'
import type { TeamHere } from './team-here.js'

/** The workers that a lost master has left behind, as the one of them that is the master now knows them. */
export interface Orphans {
  /** Whether one of them serves yet, which nobody has told to end. */
  serve(): boolean
  /** Lets them drain and end. Each is told once: a second signal would hurry it. */
  end(): void
  /** Resolves when those that were told have ended; who takes longer than its time is killed. */
  ended(): Promise<void>
  /** Ends at once those that were told. */
  kill(): void
}

export interface OrphansOptions {
  readonly generation: number
  readonly team: Pick<TeamHere, 'orphans'>
  readonly log: Log
  /** How long the end of one may take, in milliseconds. */
  endTimeout(): number
}

/** Between two looks at those that end, in milliseconds: they are nobody's children here. */
const interval = 20

export function createOrphans(
  { generation, team, log, endTimeout }: OrphansOptions,
  host: Pick<Host, 'kill'>
): Orphans {
  const told = new Set<number>()
  let patience = 0
  let deadline = Number.POSITIVE_INFINITY
  return {
    serve: () => team.orphans().some(pid => !told.has(pid)),
    end() {
      patience = endTimeout() + exitTime
      deadline = now() + patience
      for (const pid of team.orphans()) {
        if (!told.has(pid)) signal(pid, 'SIGTERM')
        told.add(pid)
      }
    },
    async ended() {
      while (left().length > 0 && now() < deadline) await sleep(interval)
      for (const pid of left()) {
        log.error({ generation, generationPid: pid, ms: patience }, 'generation does not end, killing it')
        signal(pid, 'SIGKILL')
      }
    },
    kill() {
      for (const pid of left()) signal(pid, 'SIGKILL')
    }
  }

  function left(): number[] {
    return team.orphans().filter(pid => told.has(pid))
  }

  /** It may have ended since it was looked at. */
  function signal(pid: number, name: NodeJS.Signals): void {
    try {
      host.kill(pid, name)
    } catch {}
  }
}
