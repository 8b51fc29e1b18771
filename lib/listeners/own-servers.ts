import type { Server } from 'node:net'

/** Servers of this process that are not the application's. One per process by nature, as `listeners.ts` follows all. */
const hidden = new WeakSet<Server>()

/** To be called before its `listen()`: the server is then no listener, and no generation inherits it. */
export function hide(server: Server): void {
  hidden.add(server)
}

export function isHidden(server: Server): boolean {
  return hidden.has(server)
}
