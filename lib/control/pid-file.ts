import {
  accessSync,
  chmodSync,
  constants,
  lstatSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import path from 'node:path'
import { GracefulUpgradeError } from '../errors.js'
import { isAlive } from '../is-alive.js'

/** The file that tells others which process to signal. */
export interface PidFile {
  /** Writes this process's id, once the server is ready. @throws as `openPidFile()`: much may have happened meanwhile */
  write(): void
  /** Removes the file if it is still ours. Never throws. */
  remove(): void
}

/**
 * Says early whether a pid file can be had; writes nothing yet. A file that a dead process has left is replaced.
 * @throws GRACEFUL_UPGRADE_PID_FILE if it names another live process, is no pid file, or its directory isn't writable
 */
export function openPidFile(asked: string): PidFile {
  const file = path.resolve(asked) // the working directory may change
  const directory = path.dirname(file)
  const temporary = path.join(directory, `.${path.basename(file)}.${process.pid}`)
  isOurs()
  return { write, remove }

  /** @throws if it can't become ours */
  function isOurs(): boolean {
    const owner = read(file)
    if (owner === process.pid) return true
    if (owner !== undefined && isAlive(owner))
      throw unusable(
        `${file} names process ${owner}, which is running: stop that server, or choose another file`
      )
    attempt(`the directory of ${file} must be there and writable`, () =>
      accessSync(directory, constants.W_OK | constants.X_OK)
    )
    return false
  }

  function write(): void {
    if (isOurs()) return
    attempt(`${file} can't be written: see to its directory, and that the disk isn't full`, () => {
      rmSync(temporary, { force: true }) // of a process that had the same id, and was killed at this point
      try {
        writeFileSync(temporary, `${process.pid}\n`, { flag: 'wx' })
        chmodSync(temporary, 0o644) // whatever the umask is: who sends signals may be another user
        renameSync(temporary, file)
      } finally {
        rmSync(temporary, { force: true })
      }
    })
  }

  function remove(): void {
    try {
      if (read(file) === process.pid) rmSync(file)
    } catch {
      // Not ours any more, or not to be removed; the next server finds it stale.
    }
  }
}

/**
 * The process that a pid file names.
 * @throws GRACEFUL_UPGRADE_PID_FILE with what to do, if the file isn't there, is no pid file, or the process is dead
 */
export function readPidFile(asked: string): number {
  const file = path.resolve(asked)
  const pid = read(file)
  if (pid === undefined)
    throw unusable(
      `${file} isn't there or is empty: start the server with --pid-file ${file}, and wait until it is ready`
    )
  if (isAlive(pid)) return pid
  throw unusable(`${file} names process ${pid}, which has ended without removing it: start the server again`)
}

/** @returns undefined if the file isn't there, or empty as after a power failure */
function read(file: string): number | undefined {
  const content = attempt(`${file} can't be read: this user must be allowed to`, () => {
    const stat = lstatSync(file, { throwIfNoEntry: false })
    if (stat === undefined) return ''
    return stat.isFile() && stat.size <= 32
      ? readFileSync(file, 'latin1')
      : 'a link, a directory, a document …'
  })
  if (content.trim() === '') return undefined
  if (/^[1-9]\d{0,8}\s*$/.test(content)) return Number(content)
  throw unusable(
    `${file} is no regular file with a process ID, and was left alone: choose another path, or remove it`
  )
}

function attempt<Result>(detail: string, action: () => Result): Result {
  try {
    return action()
  } catch (cause) {
    throw unusable(`${detail} (${(cause as NodeJS.ErrnoException).code})`, cause)
  }
}

function unusable(detail: string, cause?: unknown): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail, { cause })
}
