import type { KeptPart } from '../handover/offer.js'
import { detachHandle, takeUnread } from '../internals/detach.js'
import type { RawHandle } from '../internals/raw-handle.js'
import { connectionHandle, isFlushed } from '../internals/socket.js'
import type { ListenerAddress } from '../listeners/address.js'
import type { Log } from '../log.js'
import { requestHead, routeOf } from './head.js'
import type { KeptConnection } from './kept.js'

/** What is left of a connection when its objects in this process have ended: nobody reads it, and it is open. */
export interface Left {
  readonly part: KeptPart
  readonly handle: RawHandle
  /** Resolves when the last of its objects have heard of their end. */
  readonly ended: Promise<unknown>
}

/**
 * Takes leave of a connection if it is at rest.
 * @returns undefined if it is not, or if it stays: the log says why
 */
export function leave(
  kept: KeptConnection,
  listener: ListenerAddress,
  isBetweenMessages: () => boolean,
  log: Pick<Log, 'warn'>
): Left | undefined {
  try {
    return isReady(kept, isBetweenMessages) ? takeLeave(kept, listener, isBetweenMessages) : undefined
  } catch (error) {
    // Of the application's, `atRest()` or `unread()`: nothing has happened to the connection yet.
    log.warn({ err: error, route: routeOf(kept.request) }, 'a connection is not kept')
    return stay(kept)
  }
}

/** Whether it could leave now. */
function isReady(kept: KeptConnection, isBetweenMessages: () => boolean): boolean {
  const { socket, subject } = kept
  return (
    subject.isOpen() &&
    socket.writable &&
    !socket.readableEnded &&
    isFlushed(socket) &&
    subject.isAtRest(isBetweenMessages) &&
    kept.atRest()
  )
}

/**
 * All in this very turn: saves what the application goes on with, and ends its objects here. What the client sends from then
 * on waits in the system.
 */
function takeLeave(
  kept: KeptConnection,
  listener: ListenerAddress,
  isBetweenMessages: () => boolean
): Left | undefined {
  const { socket, request, subject } = kept
  if (connectionHandle(socket) === undefined) return stay(kept)
  const state = kept.save()
  if (state === undefined) return stay(kept)
  if (!isReady(kept, isBetweenMessages)) throw new Error('to save the state has written to the connection')
  const told = subject.told()
  const head = requestHead(request, subject.headers)
  const unread = Buffer.concat([subject.unread(), takeUnread(socket)])
  const dictionary = subject.dictionary?.()
  const ended = new Promise(resolve => socket.once('close', resolve))
  kept.phase = 'moved'
  const handle = detachHandle(socket)
  if (handle === undefined) return undefined // never so: it has been looked at above
  const bytes = Buffer.concat([head, unread]).toString('base64')
  const part = {
    listener,
    bytes,
    told,
    state,
    ...(dictionary && { dictionary: dictionary.toString('base64') })
  }
  return { part, handle, ended }
}

function stay(kept: KeptConnection): undefined {
  kept.phase = 'staying'
}
