import { createDeferred } from '../time/deferred.js'
import type { RequestFailure } from './failure.js'

/** Open connections of one path, and what became of them. */
export interface Stay {
  /** `WebSocket /chat` */
  readonly name: string
  readonly clients: number
  /** How often one was opened. */
  opened: number
  /** How often one was closed, by its close code; of a stream by `end`, or `cut` if that came in the middle. */
  readonly closed: Record<string, number>
  /** What came on them: messages, or events. */
  received: number
  /** Of events with numbers: how many never came, and how many came twice. */
  missed: number
  doubled: number
}

/** Of each path so many are open. */
export const clientsPerPath = 10

/** A client that has lost its connection waits before it comes again, in milliseconds. */
export const pauseBeforeReturn = 100

/** Close codes by which a server asks a client to come again, or says that it has what it wanted. */
const friendly = ['1000', '1001', '1005', '1012', '1013']

/** Ends that a client is told of in a proper way. */
export function isFriendly(end: string): boolean {
  return friendly.includes(end) || end === 'end'
}

export function createStay(name: string): Stay {
  return { name, clients: clientsPerPath, opened: 0, closed: {}, received: 0, missed: 0, doubled: 0 }
}

/** What is told of connections that stay. */
export interface StayWitness {
  lost(what: string, failure: RequestFailure, began: number): void
}

/** Ends at once when `signal` is aborted. */
export function pause(signal: AbortSignal, ms = pauseBeforeReturn): Promise<void> {
  const { promise, resolve } = createDeferred()
  const timer = setTimeout(end, ms)
  signal.addEventListener('abort', end)
  return promise

  function end(): void {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
    resolve()
  }
}
