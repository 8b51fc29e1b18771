import type { Server } from 'node:net'

/** Every copy of this package in the process knows it, as each follows what listens there. */
const hidden = Symbol.for('fastify-graceful-upgrade.hidden')

/** To be called before its `listen()`: the server is then no listener, and no generation inherits it. */
export function hide(server: Server): void {
  Object.defineProperty(server, hidden, { value: true })
}

export function isHidden(server: Server): boolean {
  return hidden in server
}
