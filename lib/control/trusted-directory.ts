/** Directories in which nobody but root can pose as a user's master, or take orders for it. */

import { lstatSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** @throws with what is wrong with a directory that is there already */
export function makePrivate(directory: string, uid: number): void {
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const reason = whyNotPrivate(directory, uid)
  if (reason !== undefined) throw new Error(reason)
}

/**
 * Whoever can write to a directory of control sockets could pose as a master, or take orders for one.
 * @returns undefined if it is a real directory that only this user can open; else what is wrong with it
 * @throws what lstat() throws
 */
export function whyNotPrivate(directory: string, uid: number): string | undefined {
  const stat = lstatSync(directory)
  const mode = stat.mode & 0o7777
  if (!stat.isDirectory()) return `${directory} is ${stat.isSymbolicLink() ? 'a link' : 'not a directory'}`
  if (stat.uid !== uid)
    return `${directory} belongs to uid ${stat.uid}, not to uid ${uid}: remove it if nobody needs it`
  if ((mode & 0o077) !== 0) return `${directory} is open to others: its mode is ${mode.toString(8)}, not 700`
  return undefined
}

/**
 * Whoever may rename a directory, or what is in it, could put a socket of his own where ours is looked for, and pose as
 * the server to whoever asks. So nobody may but root, and the user of the server, in this directory and all above it.
 * @throws with what to do
 */
export function checkPath(directory: string, uid: number): void {
  for (const each of new Set([...andAbove(directory), ...andAbove(realpathSync(directory))])) {
    const reason = whoMayRename(each, uid)
    if (reason !== undefined) throw new Error(`${reason}: choose another place for the control socket`)
  }
}

/** In a sticky directory, as /tmp, each renames only what is his own. */
function whoMayRename(directory: string, user: number): string | undefined {
  const { mode, uid, gid } = statSync(directory)
  const mayWrite = (bit: number) => (mode & bit) !== 0 && (mode & 0o1000) === 0
  if (mayWrite(0o002)) return `everybody may write to ${directory} (chmod o-w)`
  if (mayWrite(0o020)) return `group ${gid} may write to ${directory} (chmod g-w)`
  if (uid !== 0 && uid !== user) return `${directory} belongs to uid ${uid}`
  return undefined
}

function andAbove(directory: string): string[] {
  const above = dirname(directory)
  return above === directory ? [directory] : [directory, ...andAbove(above)]
}
