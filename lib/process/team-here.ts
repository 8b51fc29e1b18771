import { type Inheritance, isWorkerOf } from '../protocol/inheritance.js'
import type { TeamNews } from '../protocol/team.js'

/** What this process knows of the workers of its generation. */
export interface TeamHere {
  /** Which of them it is, from 0 on. */
  readonly worker: number
  /** How many there are. */
  readonly workers: number
  /** The process that goes on as the master if the master is lost; undefined where it has no siblings. */
  readonly heir: number | undefined
  /** What the master says of it. */
  hear(news: TeamNews): void
  /** The others that a lost master has left behind, if this process goes on as the master. */
  orphans(): readonly number[]
}

/**
 * @param inheritance of this worker, if it is one
 * @param isSibling whether a process is yet what it was when the master told of it
 */
export function createTeamHere(
  { worker = 0, workers = 1, master = 0 }: Partial<Inheritance> = {},
  isSibling: (pid: number, master: number) => boolean = isWorkerOf,
  self = process.pid
): TeamHere {
  let news: Partial<TeamNews> = {}
  return {
    worker,
    get workers() {
      return news.workers ?? workers
    },
    get heir() {
      return news.heir
    },
    hear(given) {
      news = given
    },
    orphans: () => (news.pids ?? []).filter(pid => pid !== self && isSibling(pid, master))
  }
}
