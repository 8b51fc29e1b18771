import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StandardError } from './standard-error.js'

/** The end of what a worker says on its standard error: why it has failed. */
export interface LastWords {
  text(): string
  /** Resolves when all is heard that a worker wrote before it ended: it may arrive after the news of its end. */
  heard(): Promise<void>
}

/** How long to wait for the end of it, in milliseconds: a grandchild may hold the pipe. */
const hearTime = 200

/** Passes on what a worker says on its standard error, unchanged, and remembers the end of it. */
export function relayStandardError(stderr: Readable | null, standardError: StandardError): LastWords {
  let tail = ''
  stderr?.on('data', (chunk: Buffer) => {
    standardError.write(chunk)
    tail = (tail + chunk.toString()).slice(-4_096)
  })
  return {
    text: () => tail.trimEnd().split('\n').slice(-20).join('\n'),
    async heard() {
      if (!stderr || stderr.destroyed) return
      await Promise.race([once(stderr, 'close'), sleep(hearTime)])
    }
  }
}
