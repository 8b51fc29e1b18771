import { lstatSync, renameSync, unlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ListenerAddress } from './address.js'

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

/**
 * Removes the file of a listener that nobody has any more, if it is a Unix socket, and of our making. It stays where this
 * process may not do that, as after `setuid()`: whoever comes next replaces it, and nothing ends for a file.
 */
export function removeFileOf({ key, bound, isForeign }: ListenerAddress): void {
  if (!key.startsWith('unix:') || isForeign || !isSocketFile(bound)) return
  try {
    socketFile(bound).remove()
  } catch {}
}

function identity(file: string): string | undefined {
  const stat = lstatSync(file, { throwIfNoEntry: false, bigint: true })
  return stat?.isSocket() ? `${stat.dev}:${stat.ino}` : undefined
}

/** What the other thread has found out, in memory that both share. */
const Answer = { none: 0, nobody: 1, somebody: 2 } as const

/** Longest time it is waited for, in milliseconds. */
const patience = 5_000

const probe = `
const { answer, file } = require('node:worker_threads').workerData
require('node:net').connect(file)
  .on('connect', () => say(${Answer.somebody}))
  .on('error', ({ code }) => say(code === 'ECONNREFUSED' || code === 'ENOENT' ? ${Answer.nobody} : ${Answer.somebody}))
function say(what) {
  Atomics.store(answer, 0, what)
  Atomics.notify(answer, 0)
}
`

/**
 * Whether a live process listens on a socket file. listen() is under way and can't wait, so another thread asks; that
 * costs some 50 ms, and only where a crashed process has left its file behind. Another process could not: in a single
 * executable application `process.execPath` is the application.
 */
function isAnswered(file: string): boolean {
  const answer = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  try {
    const worker = new Worker(probe, { eval: true, workerData: { answer, file }, env: {}, execArgv: [] })
    worker.on('error', () => {}) // nobody is told of it, and no answer is an answer
    worker.unref()
    Atomics.wait(answer, 0, Answer.none, patience)
    void worker.terminate()
  } catch {
    // The permission model allows no threads: bind() will say that the address is in use.
  }
  return Atomics.load(answer, 0) !== Answer.nobody
}
