/**
 * Takes the handle of libuv out of a `net.Socket` that has no further use: the objects of one process end, and the connection
 * doesn't. Where there is no such handle, the connection stays.
 */
import type { Socket } from 'node:net'
import type { RawHandle } from './raw-handle.js'
import { connectionHandle, stopHandle } from './socket.js'

/**
 * Ends a socket, and whatever is made of it, in this very turn, as by a reset; the connection stays open, and nobody reads
 * it. `net.Socket#_destroy` closes the handle, and waits for that.
 * @returns undefined where that is not possible: nothing has happened then
 */
export function detachHandle(socket: Socket): RawHandle | undefined {
  const handle = connectionHandle(socket) as (RawHandle & { close(callback?: () => void): void }) | undefined
  if (handle === undefined || socket.destroyed) return undefined
  const own: { close?: RawHandle['close'] } = handle
  stopHandle(socket)
  own.close = closed => {
    delete own.close
    if (closed) process.nextTick(closed)
  }
  socket.destroy()
  if (Object.hasOwn(own, 'close')) delete own.close
  return handle
}

/** What has been read of a connection, and nobody has taken: of one that the application has paused. It is stopped then. */
export function takeUnread(socket: Socket): Buffer {
  socket.removeAllListeners('data') // which hear of what is read
  const chunks: Buffer[] = []
  for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) chunks.push(chunk)
  stopHandle(socket) // to read from the stream has started it
  return Buffer.concat(chunks)
}
