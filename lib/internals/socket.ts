/**
 * `socket._handle`, the handle of libuv below a connection: it is sent, wrapped and read. Where it is missing, or doesn't
 * look like one, the connection stays where it is.
 */
import net, { type Server, type Socket } from 'node:net'
import { asRawHandle, type RawHandle } from './raw-handle.js'

/**
 * The handle of an accepted connection: what can be sent to another process, without its streams.
 * @returns undefined of what the application has given to its server itself: a `TLSSocket`, or any other stream
 */
export function connectionHandle(socket: Socket): RawHandle | undefined {
  if ('encrypted' in socket) return undefined // it says the descriptor of the socket below, but `send()` throws
  return asRawHandle((socket as { _handle?: unknown })._handle)
}

/** Whether everything that was written to a connection has been taken by the system. */
export function isFlushed(socket: Socket): boolean {
  const { writeQueueSize = 0 } = (socket as { _handle?: { writeQueueSize?: number } | null })._handle ?? {}
  return socket.writableLength === 0 && writeQueueSize === 0
}

/**
 * Makes a connection that another process has accepted one of this server: what `onconnection` in lib/net.js does
 * for one that it accepts. The server counts it, so `getConnections()` and `close()` include it.
 * @returns undefined where `net.Socket` doesn't take a handle; the handle is the caller's still
 */
export function wrapAccepted(server: Server, handle: RawHandle): Socket | undefined {
  const { allowHalfOpen, pauseOnConnect, highWaterMark, noDelay, keepAlive, keepAliveInitialDelay } =
    server as unknown as AcceptOptions
  const socket = new net.Socket({
    handle,
    allowHalfOpen,
    pauseOnCreate: pauseOnConnect,
    readable: true,
    writable: true,
    readableHighWaterMark: highWaterMark,
    writableHighWaterMark: highWaterMark
  } as net.SocketConstructorOpts)
  if ((socket as { _handle?: unknown })._handle !== handle) return undefined
  if (noDelay) socket.setNoDelay(true)
  if (keepAlive) socket.setKeepAlive(true, (keepAliveInitialDelay ?? 0) * 1_000)
  const counted = server as { _connections?: number }
  if (typeof counted._connections === 'number') {
    counted._connections++
    const same = socket as { server?: Server; _server?: Server } // in Node.js's order: the same hidden class
    same.server = server
    same._server = server
  }
  return socket
}

interface AcceptOptions {
  readonly allowHalfOpen: boolean
  readonly pauseOnConnect: boolean
  readonly highWaterMark?: number
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  /** In seconds, as the server keeps it. */
  readonly keepAliveInitialDelay?: number
}

/**
 * Stops reading a connection in this very turn. `socket.pause()` does it by the listeners of http, which are gone
 * where the application has listeners for 'data' of its own; so the handle is stopped besides.
 * @returns starts it again
 */
export function stopHandle(socket: Socket): () => void {
  const { _handle: handle } = socket as { _handle?: ReadableHandle | null }
  socket.pause()
  if (handle?.reading) {
    handle.reading = false
    handle.readStop()
  }
  return () => startHandle(socket)
}

/**
 * Reads a connection (again), whoever had stopped that: behind an http parser the stream believes that it is being
 * read, and `socket.resume()` alone starts nothing.
 */
export function startHandle(socket: Socket): void {
  const { _handle: handle } = socket as { _handle?: ReadableHandle | null }
  socket.resume()
  if (handle != null && !handle.reading && !socket.destroyed) {
    handle.reading = true
    handle.readStart()
  }
}

interface ReadableHandle {
  reading: boolean
  readStart(): void
  readStop(): void
}
