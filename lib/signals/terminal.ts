import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import type { Log } from '../log.js'
import { now } from '../time/clock.js'
import { type Host, thisHost } from './host.js'
import { interval } from './launcher.js'

/** Longest time that a shell takes to end when it has sent SIGHUP to its jobs, in milliseconds. */
const shellTime = 100

/** What comes so soon after the end of a terminal is the same news, from the system and from the shell, in milliseconds. */
const echoTime = 500

export interface Terminal {
  /** Whether a SIGHUP that has come just now is its end: the system sends it, or the shell that was left. */
  hasHungUp(): Promise<boolean>
  leave(): void
}

/**
 * Follows the terminal that this process was started in. SIGHUP is its end only at that moment: who is left behind, as
 * most shells do with their jobs, can be reloaded by it later.
 * @param onLeftBehind the terminal has ended, and no SIGHUP has come
 */
export function watchTerminal(
  onLeftBehind: () => void,
  hasTerminal = hasControllingTerminal,
  { every }: Pick<Host, 'every'> = thisHost
): Terminal {
  let state: 'there' | 'missing' | 'none' = hasTerminal() ? 'there' : 'none'
  let hungUp = Number.NEGATIVE_INFINITY
  const stopLooking = state === 'there' ? every(interval, look) : () => {}
  return { hasHungUp, leave }

  /** Twice, since the signal may come after the first look. */
  function look(): void {
    if (hasTerminal()) return
    if (state === 'there') {
      state = 'missing'
      return
    }
    leave()
    onLeftBehind()
  }

  async function hasHungUp(): Promise<boolean> {
    if (now() - hungUp < echoTime) return true
    if (state === 'none') return false
    if (hasTerminal()) await sleep(shellTime, undefined, { ref: false })
    if (hasTerminal()) return false
    leave()
    hungUp = now()
    return true
  }

  function leave(): void {
    state = 'none'
    stopLooking()
  }
}

/** What a master makes of it: started by nohup it serves on, else it ends. */
export function followTerminal(
  log: Log,
  end: () => void,
  start = { hasTerminal: hasControllingTerminal, isUnderNohup }
): { terminal: Terminal; onHangup(): void } {
  let isTold = false
  return {
    terminal: watchTerminal(serveOn, start.hasTerminal),
    onHangup: () => (start.isUnderNohup() ? serveOn() : end())
  }

  function serveOn(): void {
    if (!isTold) log.info('terminal closed, serving on')
    isTold = true
  }
}

/** The system takes a terminal that is closed from all its processes at once. */
export function hasControllingTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch (error) {
    // No descriptor left, or not permitted: that says nothing of the terminal.
    return (error as NodeJS.ErrnoException).code !== 'ENXIO' && isatty(0)
  }
}

/**
 * Whether nohup has started this process. That SIGHUP was ignored then, Node.js has undone before it runs a line; but most
 * shells tell a program its path, and GNU's puts something unreadable in place of a terminal.
 */
function isUnderNohup(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true
  try {
    if (fstatSync(0).rdev !== statSync('/dev/null').rdev) return false
    readSync(0, Buffer.alloc(1))
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EBADF'
  }
}
