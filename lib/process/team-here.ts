import { isRunning } from '../control/is-running.js'
import { isOwnProc } from '../control/pid-namespace.js'
import { type Inheritance, isWorkerOf, mayBeWorkerOf } from '../protocol/inheritance.js'
import type { TeamNews } from '../protocol/team.js'

/** What this process knows of the workers of its generation. */
export interface TeamHere {
  /** Which of them it is, from 0 on. */
  readonly worker: number
  /** How many there are. */
  readonly workers: number
  /**
   * The sibling that goes on as the master when the master is lost: the first one that is there yet, in an order that is the same for
   * all of them. Undefined where that is this process.
   */
  heir(): number | undefined
  /** Whether the heir finds this process among its orphans, and so ends it when it is upgraded. */
  isSeen(): boolean
  /** What the master says of it. */
  hear(news: TeamNews): void
  /** The others that a lost master has left behind, if this process goes on as the master. */
  orphans(): readonly number[]
}

/** What the system tells of processes. */
export interface ProcessTable {
  readonly pid: number
  /** Whether a process is yet what it was when the master told of it. */
  isSibling(pid: number, master: number): boolean
  /** Whether it certainly isn't: two that take each other for gone would both be the master. */
  isGone(pid: number, master: number): boolean
}

const thisSystem: ProcessTable = {
  pid: process.pid,
  isSibling: isWorkerOf,
  isGone: (pid, master) => !isRunning(pid) || (isOwnProc() && mayBeWorkerOf(pid, master) === false)
}

/** @param inheritance of this worker, if it is one */
export function createTeamHere(
  { worker = 0, workers = 1, master = 0 }: Partial<Inheritance> = {},
  { pid: self, isSibling, isGone } = thisSystem
): TeamHere {
  let news: Partial<TeamNews> = {}
  return {
    worker,
    get workers() {
      return news.workers ?? workers
    },
    heir() {
      const { heir = self, pids = [] } = news
      const first = [heir, ...pids].find(pid => pid === self || !isGone(pid, master))
      return first === self ? undefined : first
    },
    isSeen: () => isSibling(self, master),
    hear(given) {
      news = given
    },
    orphans: () => (news.pids ?? []).filter(pid => pid !== self && isSibling(pid, master))
  }
}
