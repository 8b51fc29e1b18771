import type { Log } from '../log.js'
import { type Host, thisHost } from './host.js'

/** What a process was started from, and may live on without: a terminal, and the process that started it. */

/** Pause between two looks, in milliseconds. */
export const interval = 1_000

/**
 * Says once that the process which started this one has ended: whoever knows only that one's pid, as of npx or tsx,
 * can't reach this one by it any more.
 */
export function watchLauncher(
  log: Log,
  pid: number,
  host: Pick<Host, 'ppid' | 'every'> = thisHost
): () => void {
  const launcher = host.ppid
  if (launcher <= 1) return () => {}
  const leave = host.every(interval, () => {
    if (host.ppid === launcher) return
    leave()
    log.info({ launcher, master: pid }, 'launcher has ended, signals go to the master')
  })
  return leave
}
