import type { Duplex } from 'node:stream'
import type { Subject } from './kept.js'

/** What follows an upgrade, or CONNECT, of a protocol that only the application knows. */
export function rawSubject(socket: Duplex, unread: () => Uint8Array): Subject {
  return {
    isOpen: () => !socket.destroyed && socket.writable && !socket.readableEnded,
    isAtRest: () => true,
    told: () => ({ kind: 'socket' }),
    headers: {},
    unread: () => Buffer.from(unread())
  }
}
