import { readFileSync } from 'node:fs'
import { isAlive } from '../is-alive.js'
import { isOwnProc } from './pid-namespace.js'

/** A zombie has ended: where PID 1 is no init, nobody may ever wait for it. */
export function isRunning(pid: number): boolean {
  if (!isAlive(pid)) return false
  try {
    return !isOwnProc() || !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return isAlive(pid) // there is no /proc, or it has just ended
  }
}
