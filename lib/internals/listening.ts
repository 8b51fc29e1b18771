/**
 * `server._handle`, what a server listens on, and `net._createServerHandle`, which makes one of a descriptor. Without the
 * first a listener is not inherited; without the second a new generation accepts on an inherited one from `listen()` on.
 */
import net, { type Server } from 'node:net'
import type { RawHandle } from './raw-handle.js'

/** `net.Server#_handle`: what its address lives in, and what can be sent to another process as it is. */
export function listeningHandle(server: Server): RawHandle | undefined {
  const handle = (server as { _handle?: RawHandle | null })._handle
  return handle != null && Number.isInteger(handle.fd) && handle.fd >= 0 ? handle : undefined
}

/**
 * To be called while a server's `listen()` is under way (channel `tracing:net.server.listen:asyncStart`):
 * makes it take the listening socket `descriptor`, but accept nothing before the returned function is called.
 * `listen({ fd })` alone would accept at once, and connections would die with a generation that never gets ready.
 *
 * `setupListenHandle` in lib/net.js uses a `_handle` that is already there instead of creating one.
 * @returns undefined where that is not possible; `listen({ fd })` is the way out then
 */
export function adoptListener(server: Server, descriptor: number): (() => number) | undefined {
  const create = (net as { _createServerHandle?: (...args: unknown[]) => RawHandle | number })
    ._createServerHandle
  if (typeof create !== 'function') return undefined
  const handle = create(null, null, null, descriptor)
  if (typeof handle !== 'object' || typeof handle.listen !== 'function') return undefined

  let backlog = 511
  handle.listen = asked => {
    backlog = asked
    return 0
  }
  ;(server as { _handle?: RawHandle })._handle = handle
  return function accept() {
    if (listeningHandle(server) !== handle) return 0 // closed meanwhile
    delete (handle as Partial<RawHandle>).listen
    return handle.listen(backlog)
  }
}
