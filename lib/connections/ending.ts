import type { Socket } from 'node:net'
import { readInstead } from '../internals/http1.js'
import { startHandle } from '../internals/socket.js'
import { connectionOf, knownConnection } from './connection.js'

/** Longest time in which a connection that has been ended is still read, in milliseconds. */
const lingerTime = 1_000

/** The same of one that is cut, in milliseconds. */
const cutTime = 100

/** What is read in that time at most, in bytes. */
const lingerBytes = 16 * 1_024 * 1_024

/** Whether a connection has been ended by this process, and only its last bytes are awaited. */
export function isLingering(socket: Socket): boolean {
  return knownConnection(socket)?.phase.name === 'ending'
}

/**
 * Ends a connection in the way of RFC 9112, 9.6: FIN behind what was written, then read and discard until the client
 * closes too. A socket that is closed with bytes of the client in its receive buffer (a request body that nobody
 * reads) is reset by the system, and the reset destroys a response that the client has not read yet.
 * @param time longest time for that, in milliseconds
 */
export function closeLingering(socket: Socket, time = lingerTime): void {
  if (socket.destroyed || isLingering(socket)) return
  connectionOf(socket).phase = { name: 'ending' }
  let read = 0
  readInstead(socket, chunk => {
    read += chunk.length
    if (read > lingerBytes) socket.destroy()
  })
  socket.once('end', () => socket.destroySoon())
  socket.on('error', () => {}) // the client was faster
  const timer = setTimeout(() => socket.destroy(), time).unref() // the connection itself keeps a process alive
  socket.once('close', () => clearTimeout(timer))
  if (socket.readableEnded) return socket.destroySoon()
  socket.end()
  startHandle(socket)
}

/** FIN first, so that a client sees an end rather than a reset; then the hard close, also of one that lingers. */
export function cut(socket: Socket): void {
  closeLingering(socket, cutTime)
  setTimeout(() => socket.destroy(), cutTime)
}

/** From now on, whoever ends this connection when its last response is written lets it linger. */
export function lingerAtEnd(socket: Socket): void {
  if (Object.hasOwn(socket, 'destroySoon')) return
  const { destroySoon } = socket
  socket.destroySoon = () => {
    socket.destroySoon = destroySoon
    closeLingering(socket)
  }
}
