/** What Linux tells of other processes in /proc; where there is none, these say what is known without it. */

import { readFileSync } from 'node:fs'
import { isOwnProc, pidNamespace } from '../control/pid-namespace.js'

/** The user that a process acts as, and its number in its own PID namespace. */
export function identify(pid: number): { uid?: number; innerPid: number; namespace?: string | undefined } {
  try {
    if (!isOwnProc()) return { innerPid: pid }
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const [, uid] = /^Uid:\s+\d+\s+(\d+)/m.exec(status) ?? []
    const user = uid === undefined ? {} : { uid: Number(uid) }
    const ids = /^NSpid:\s*(.+)$/m.exec(status)?.[1]?.split(/\s+/) ?? []
    if (ids.length < 2) return { ...user, innerPid: pid }
    return { ...user, innerPid: Number(ids.at(-1)), namespace: pidNamespace(pid) ?? 'unknown' }
  } catch {
    return { innerPid: pid }
  }
}

/** Those processes that are above or below this one: npx above its server, a worker below its master. */
export function relativesOf(pid: number, processes: readonly number[]): number[] {
  const above = ancestorsOf(pid)
  return processes.filter(other => above.includes(other) || ancestorsOf(other).includes(pid))
}

/** Its parent first. */
function ancestorsOf(pid: number): number[] {
  const ancestors: number[] = []
  for (let parent = parentOf(pid); parent > 1 && !ancestors.includes(parent); parent = parentOf(parent))
    ancestors.push(parent)
  return ancestors
}

/** @returns 0 if there is none, or nobody says so */
function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
