import type { Server } from 'node:net'

/** Of each server, how many are on their way. */
const expected = new WeakMap<Server, number>()

/**
 * A connection is none of a server's for a while: it has left, and may come back; or it has come from another process, and
 * is not replayed yet.
 * @returns it is one of them, or elsewhere
 */
export function expectConnection(server: Server): () => void {
  add(server, 1)
  return () => add(server, -1)
}

/** Whether a server has such connections. */
export function expectsConnection(server: Server): boolean {
  return (expected.get(server) ?? 0) > 0
}

function add(server: Server, count: number): void {
  expected.set(server, (expected.get(server) ?? 0) + count)
}
