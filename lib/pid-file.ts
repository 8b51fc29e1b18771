import { randomBytes } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync
} from 'node:fs'
import path from 'node:path'
import { GracefulUpgradeError } from './errors.js'
import { isAlive } from './is-alive.js'

/** The file that tells others which process to signal. */
export interface PidFile {
  /**
   * Writes this process's id, once the server is ready; nothing happens if it is there already.
   * @throws GRACEFUL_UPGRADE_PID_FILE as `openPidFile` does: much may have happened meanwhile
   */
  write(): void
  /** Removes the file if it is still ours. Never throws. */
  remove(): void
}

/** In bytes; what is longer than any process id is somebody's document. */
const longestContent = 32

// Not blocking: a FIFO would wait for its other end.
const reading = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const creating = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/**
 * Says early whether a pid file can be had; writes nothing yet. A file that a dead process has left is replaced.
 * @param pid the process that the file will name
 * @throws GRACEFUL_UPGRADE_PID_FILE if the file names another live process, is a symbolic link or anything else
 * than a pid file, or its directory isn't there or not writable
 */
export function openPidFile(asked: string, pid = process.pid): PidFile {
  const file = path.resolve(asked) // the working directory may change
  check()
  return { write, remove }

  /** @returns whether the file names us already */
  function check(): boolean {
    const owner = read(file)
    if (owner === pid) return true
    if (owner !== undefined && isAlive(owner)) {
      const detail = `${file} names process ${owner}, which is running: stop that server first, or choose another file`
      throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail)
    }
    attempt(`the directory of ${file} must be there and writable`, () =>
      accessSync(path.dirname(file), constants.W_OK | constants.X_OK)
    )
    return false
  }

  function write(): void {
    if (check()) return
    const temporary = path.join(
      path.dirname(file),
      `.${path.basename(file)}.${randomBytes(6).toString('hex')}`
    )
    attempt(`${file} can't be written: see to its directory, and that the disk isn't full`, () => {
      const fd = openSync(temporary, creating, 0o644)
      try {
        fchmodSync(fd, 0o644) // whatever the umask is: who sends signals may be another user
        writeSync(fd, `${pid}\n`)
        renameSync(temporary, file)
      } catch (error) {
        unlinkSync(temporary)
        throw error
      } finally {
        closeSync(fd)
      }
    })
  }

  function remove(): void {
    try {
      if (read(file) === pid) unlinkSync(file)
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
  if (pid === undefined) {
    const detail = `${file} isn't there or is empty: start the server with --pid-file ${file}, and wait until it is ready`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail)
  }
  if (!isAlive(pid)) {
    const detail = `${file} names process ${pid}, which has ended without removing it: start the server again`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail)
  }
  return pid
}

/** @returns undefined if the file isn't there, or empty as after a power failure */
function read(file: string): number | undefined {
  const content = readStart(file)
  if (content === undefined || content.trim() === '') return undefined
  const pid = /^[1-9]\d{0,9}\s*$/.test(content) ? Number(content) : Number.POSITIVE_INFINITY
  if (pid > 0x7fffffff || content.length > longestContent) {
    const detail = `${file} is no pid file and was left alone: choose another path, or remove it if nobody needs it`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail)
  }
  return pid
}

/** @returns as much as shows what kind of file it is; undefined if it isn't there */
function readStart(file: string): string | undefined {
  let fd: number
  try {
    fd = openSync(file, reading)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    const detail =
      code === 'ELOOP'
        ? `${file} is a symbolic link, which is never followed: name the file itself`
        : `${file} can't be read (${code}): it must be a regular file that this user may read`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail, { cause: error })
  }
  try {
    if (!fstatSync(fd).isFile()) {
      const detail = `${file} is no regular file: choose another path`
      throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', detail)
    }
    const buffer = Buffer.alloc(longestContent + 1)
    return buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0))
  } finally {
    closeSync(fd)
  }
}

function attempt(detail: string, action: () => void): void {
  try {
    action()
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_PID_FILE', `${detail} (${reason})`, { cause })
  }
}
