import { readlinkSync } from 'node:fs'

/** Linux gives this inode to the PID namespace that it boots with, and to no other (`PROC_PID_INIT_INO`). */
const initialNamespace = '4026531836'

/**
 * The PID namespace of a process, by its inode: in each of them other processes have the same ids.
 * @returns undefined for the one that the system has booted with, and where the system doesn't say
 */
export function pidNamespace(process: number | 'self' = 'self'): string | undefined {
  const inode = inodeOf(process)
  return inode === initialNamespace ? undefined : inode
}

/** Whether the ids in /proc are those that this process knows others by. */
export function isOwnProc(): boolean {
  try {
    return readlinkSync('/proc/self') === String(process.pid)
  } catch {
    return false
  }
}

function inodeOf(process: number | 'self'): string | undefined {
  try {
    return /\d+/.exec(readlinkSync(`/proc/${process}/ns/pid`))?.[0]
  } catch {
    return undefined
  }
}
