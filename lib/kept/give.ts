import type { Server, Socket } from 'node:net'
import { type Relay, unknownListener } from '../handover/offer.js'
import type { Log } from '../log.js'
import { createDeferred } from '../time/deferred.js'
import { expectConnection } from './expected.js'
import type { Left } from './leave.js'
import { replay } from './replay.js'

/**
 * What became of a kept connection. *kept*: it lives on elsewhere; *refused*, *unavailable*: it is back, as another
 * connection of the same server; *lost*: nobody knows; *cut*: nobody waited for an answer any more.
 */
export type Fate = 'kept' | 'refused' | 'unavailable' | 'lost' | 'cut'

export interface Given {
  readonly fate: Fate
  /** So long nobody read it, in milliseconds, and at most so long. */
  readonly pause: number
  readonly back?: Back | undefined
}

/** A connection that is back. */
export interface Back {
  readonly socket: Socket
  /**
   * Resolves when its handler has run again, or it has ended before: which may be never, as the application's own hooks run
   * first. It is a connection of its server meanwhile, as any other.
   */
  readonly said: Promise<void>
}

/** @param cut resolves when no answer is waited for any more */
export async function giveKept(
  server: Server,
  left: Left,
  relay: Relay,
  cut: Promise<'cut'>,
  log: Pick<Log, 'warn'>
): Promise<Given> {
  const settled = expectConnection(server)
  try {
    return await offer(server, left, relay, cut, log)
  } finally {
    settled()
  }
}

async function offer(
  server: Server,
  left: Left,
  relay: Relay,
  cut: Promise<'cut'>,
  log: Pick<Log, 'warn'>
): Promise<Given> {
  const { part, handle } = left
  const begun = performance.now()
  const offered = relay({ listener: unknownListener, idleTime: null, kept: part }, handle)
  const answer = await Promise.race([offered, cut])
  const pause = Math.ceil(performance.now() - begun)
  if (answer === 'refused' || answer === 'unavailable')
    return { fate: answer, pause, back: await comeBack(server, left, log) }
  handle.close()
  return { fate: answer === 'adopted' ? 'kept' : answer, pause }
}

/** It goes on here as it would have gone on there. */
async function comeBack(
  server: Server,
  { part, handle, ended }: Left,
  log: Pick<Log, 'warn'>
): Promise<Back | undefined> {
  await ended
  const { promise: said, resolve } = createDeferred()
  const socket = replay(server, handle, part, log, resolve)
  return socket && { socket, said }
}
