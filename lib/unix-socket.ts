import { spawnSync } from 'node:child_process'
import { lstatSync, renameSync, unlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/**
 * The file of a listening Unix socket. libuv removes the path that a process bound when that process closes the
 * socket, under the feet of the next generation. So a socket is bound under a temporary name, which may be
 * removed as often as anyone likes, and renamed into place; and the path is removed by whoever ends last.
 */
export interface UnixSocketFile {
  readonly path: string
  /** Removes the file, unless another process has put its own there. */
  remove(): void
}

/** Longest path of a Unix socket, as it is spelled in `listen()`, in bytes: `sun_path` without its NUL. */
export const longestSocketPath = process.platform === 'linux' ? 107 : 103

/** Whether a path names a file: not so an abstract socket of Linux, or a pipe of Windows. */
export function isSocketFile(asked: string): boolean {
  return process.platform !== 'win32' && !asked.startsWith('\0')
}

/**
 * @returns the name to bind instead of `asked`; undefined if bind() shall take `asked` and fail by itself, as
 * there is a file of another kind, or a socket that somebody answers on
 */
export function temporaryName(asked: string): string | undefined {
  const file = resolve(asked)
  const stat = lstatSync(file, { throwIfNoEntry: false })
  if (stat !== undefined && (!stat.isSocket() || isAnswered(file))) return undefined
  for (let attempt = 0; attempt < 100; attempt++) {
    // With a letter first: Node.js takes a path that reads as a number, such as '.3905', for none.
    const random = Math.random().toString(36).slice(2, 6)
    const letters = random.replace(/^\d/, digit => 'ghijklmnop'.charAt(Number(digit)))
    const name = join(dirname(asked), `.${letters}`)
    if (Buffer.byteLength(name) > longestSocketPath) return undefined
    if (lstatSync(name, { throwIfNoEntry: false }) === undefined) return name
  }
  return undefined
}

/** Gives a bound socket its real name. The path answers at every instant, also where a stale file was before. */
export function moveIntoPlace(temporary: string, asked: string): UnixSocketFile {
  renameSync(temporary, asked)
  return socketFile(asked)
}

/** The file of a socket that listens already. */
export function socketFile(asked: string): UnixSocketFile {
  const file = resolve(asked)
  const ours = identity(file)
  return {
    path: file,
    remove() {
      if (ours !== undefined && identity(file) === ours) unlinkSync(file)
    }
  }
}

function identity(file: string): string | undefined {
  const stat = lstatSync(file, { throwIfNoEntry: false, bigint: true })
  return stat?.isSocket() ? `${stat.dev}:${stat.ino}` : undefined
}

const knock = `
require('node:net').connect(process.argv[1])
  .on('connect', () => process.exit(0))
  .on('error', ({ code }) => process.exit(code === 'ECONNREFUSED' || code === 'ENOENT' ? 1 : 0))
`

/**
 * Whether a live process listens on a socket file. listen() is under way and can't wait, so another process
 * asks; that costs some 50 ms, and only where a crashed process has left its file behind.
 */
function isAnswered(file: string): boolean {
  const { status } = spawnSync(process.execPath, ['-e', knock, file], {
    env: {},
    stdio: 'ignore',
    timeout: 5_000
  })
  return status !== 1
}
