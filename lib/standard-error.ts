import { writeSync } from 'node:fs'

/** Where this process and its workers say what went wrong. */
export interface StandardError {
  readonly fd: number
  write(chunk: Buffer): void
}

/**
 * The process's own, unless it is a worker that has lost its master: then the pipe to the master is broken, and
 * the descriptor that the master had written to, inherited for this case, takes its place.
 */
export function openStandardError(): StandardError & { replace(descriptor: number): void } {
  let fd = 2
  let isGuarded = false
  return {
    get fd() {
      return fd
    },
    write(chunk) {
      if (fd !== 2) return writeAll(fd, chunk)
      // Who reads it may be gone (EPIPE): that must not end a server because one of its workers said something.
      if (!isGuarded) process.stderr.on('error', () => {})
      isGuarded = true
      process.stderr.write(chunk)
    },
    replace(descriptor) {
      fd = descriptor
      process.stderr.on('error', () => {}) // EPIPE
      process.stderr.write = ((chunk: string | Uint8Array, ...rest: unknown[]) => {
        writeAll(fd, Buffer.from(chunk as Uint8Array))
        const callback = rest.at(-1)
        if (typeof callback === 'function') process.nextTick(callback)
        return true
      }) as typeof process.stderr.write
    }
  }
}

function writeAll(fd: number, chunk: Buffer): void {
  try {
    for (let written = 0; written < chunk.length; ) written += writeSync(fd, chunk, written)
  } catch {
    // A closed or full terminal must not end a server.
  }
}
