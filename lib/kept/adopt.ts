import { adopterOf, noteAdoption } from '../handover/adopt.js'
import type { KeptPart } from '../handover/offer.js'
import type { RawHandle } from '../internals/raw-handle.js'
import type { Listener } from '../listeners/listeners.js'
import type { Log } from '../log.js'
import { expectConnection } from './expected.js'
import { replay } from './replay.js'

/**
 * Takes over a connection that is in the middle of something. Nothing is done with it before the answer has left: if this
 * process dies with it unsaid, it goes on where it was, and nobody has touched it.
 * @returns false, with the handle closed, where it can't be taken
 */
export function adoptKept(
  listeners: readonly Listener[],
  kept: KeptPart,
  handle: RawHandle,
  log: Pick<Log, 'warn'>
): boolean {
  const listener = adopterOf(listeners, kept.listener)
  if (listener === undefined) {
    handle.close()
    return false
  }
  noteAdoption(handle)
  const { server } = listener
  const arrived = expectConnection(server) // a drain may begin before that
  setImmediate(() => {
    arrived()
    replay(server, handle, kept, log)
  })
  return true
}
