import { setTimeout as sleep } from 'node:timers/promises'
import type { Status } from '../control/messages.js'
import type { GracefulUpgradeError } from '../errors.js'
import { ask } from './ask.js'
import type { Screen } from './live-line.js'

/** Between two looks, in milliseconds. */
const interval = 1_000

/** Longest time a status is waited for, in milliseconds. */
export const statusTimeout = 10_000

export function askStatus(file: string, signal?: AbortSignal): Promise<Status> {
  const limit = AbortSignal.timeout(statusTimeout)
  return ask(file, 'status', undefined, signal === undefined ? limit : AbortSignal.any([signal, limit]))
}

/**
 * Asks a master once a second, until `signal` is aborted.
 * @returns whether the server has ended by then
 * @throws GRACEFUL_UPGRADE_NO_MASTER if nobody was there from the beginning
 */
export async function watchStatus(
  file: string,
  show: (status: Status) => void,
  signal: AbortSignal
): Promise<boolean> {
  let wasThere = false
  try {
    for (;;) {
      show(await askStatus(file, signal))
      wasThere = true
      await sleep(interval, undefined, { signal })
    }
  } catch (error) {
    if (signal.aborted) return false
    if (wasThere && isGone(error)) return true
    throw error
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as Partial<GracefulUpgradeError>
  return code === 'GRACEFUL_UPGRADE_NO_MASTER' || code === 'GRACEFUL_UPGRADE_MASTER_LOST'
}

/** @returns draws a text in the place of the one before, if that is a terminal; as much of it as there is room for */
export function createPicture(stdout: Screen): (text: string) => void {
  let start = '\x1b[H\x1b[2J'
  return function draw(text) {
    if (!stdout.isTTY) return void stdout.write(text)
    const columns = stdout.columns || 80
    const lines = text
      .trimEnd()
      .split('\n')
      .slice(0, (stdout.rows || 24) - 1)
    const cut = lines.map(line => (line.length <= columns ? line : `${line.slice(0, columns - 1)}…`))
    // Over what was there, line by line: a screen that is empty for a moment would flicker.
    stdout.write(`${start}${cut.map(line => `\x1b[K${line}\r\n`).join('')}\x1b[J`)
    start = '\x1b[H'
  }
}
