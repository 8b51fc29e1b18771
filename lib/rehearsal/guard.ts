import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

/** Ends a group of processes when this process is gone, however it went: SIGKILL, too. */
export interface Guard {
  /** It has seen one of both. */
  readonly ended: Promise<unknown>
  /** There is nothing left to be guarded. */
  dismiss(): void
}

/** A shell waits for a line. The end of its input is the death of whoever would have written it. */
const script = 'read -r line || { kill -s KILL -- "-$1"; rm -rf -- "$2"; }'

/**
 * @param group the id of a process that leads a group
 * @param folder that goes with it
 */
export function guardGroup(group: number, folder: string): Guard {
  const shell: ChildProcess = spawn('/bin/sh', ['-c', script, 'sh', String(group), folder], {
    detached: true, // Ctrl-C is not for it
    stdio: ['pipe', 'ignore', 'ignore']
  })
  const ended = once(shell, 'exit').catch(() => {}) // without a shell there is no guard
  shell.stdin?.on('error', () => {})
  shell.unref()
  return { ended, dismiss: () => void shell.stdin?.end('over\n') }
}
