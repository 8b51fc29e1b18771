import { writeSync } from 'node:fs'

/** Where this process and its workers say what went wrong. */
export interface StandardError {
  readonly fd: number
  write(chunk: Buffer): void
}

/** What it is written to; an object, so that a test can be another process. */
export interface Outputs {
  /** The process's own; opened when it is first asked for. */
  readonly stderr: Pick<NodeJS.WriteStream, 'write' | 'on'>
  /** @returns how much of the chunk, from this offset on, has been written; throws where that is nothing */
  writeSync(descriptor: number, chunk: Buffer, offset: number): number
}

const ofThisProcess: Outputs = {
  get stderr() {
    return process.stderr
  },
  writeSync
}

/**
 * The process's own, unless it is a worker that has lost its master: then the pipe to the master is broken, and
 * the descriptor that the master had written to, inherited for this case, takes its place.
 */
export function openStandardError(
  outputs: Outputs = ofThisProcess
): StandardError & { replace(descriptor: number): void } {
  let fd = 2
  let isGuarded = false
  return {
    get fd() {
      return fd
    },
    write(chunk) {
      if (fd === 2) guarded().write(chunk)
      else writeAll(chunk)
    },
    replace(descriptor) {
      fd = descriptor
      guarded().write = ((chunk: string | Uint8Array, ...rest: unknown[]) => {
        writeAll(Buffer.from(chunk as Uint8Array))
        const callback = rest.at(-1)
        if (typeof callback === 'function') process.nextTick(callback)
        return true
      }) as typeof process.stderr.write
    }
  }

  /** Who reads it may be gone (EPIPE): that must not end a server because something was said. */
  function guarded(): Outputs['stderr'] {
    if (!isGuarded) outputs.stderr.on('error', () => {})
    isGuarded = true
    return outputs.stderr
  }

  function writeAll(chunk: Buffer): void {
    try {
      for (let written = 0; written < chunk.length; ) written += outputs.writeSync(fd, chunk, written)
    } catch {
      // A closed or full terminal must not end a server.
    }
  }
}
