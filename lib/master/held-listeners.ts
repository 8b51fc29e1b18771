import type { RawHandle } from '../internals/raw-handle.js'
import type { ListenerAddress, OpenListener } from '../listeners/address.js'

/** The listening sockets of a worker that its master holds open for the generation after it: one of a key. */
export interface HeldListeners {
  /** @returns false where there is no socket to hold */
  hold(listener: ListenerAddress, handle: RawHandle | undefined): boolean
  drop(key: string): void
  /** Those of these keys of which there is no socket. */
  missing(keys: readonly string[]): string[]
  open(): OpenListener[]
  /** Closes them all, and whatever comes later: nobody will inherit it. */
  release(): void
}

export function createHeldListeners(): HeldListeners {
  const held = new Map<string, { readonly listener: ListenerAddress; readonly handle: RawHandle }>()
  let isReleased = false
  return {
    hold(listener, handle) {
      if (isReleased) {
        handle?.close()
        return true
      }
      if (handle === undefined) return false
      drop(listener.key)
      held.set(listener.key, { listener, handle })
      return true
    },
    drop,
    missing: keys => (isReleased ? [] : keys.filter(key => !held.has(key))),
    open: () => [...held.values()].map(({ listener, handle }) => ({ ...listener, fd: handle.fd })),
    release() {
      isReleased = true
      for (const key of held.keys()) drop(key)
    }
  }

  function drop(key: string): void {
    held.get(key)?.handle.close()
    held.delete(key)
  }
}
