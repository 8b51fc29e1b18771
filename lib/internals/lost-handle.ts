/**
 * `process[Symbol(kChannelHandle)]`, the pipe below an IPC channel, as `setupChannel` in lib/internal/child_process.js reads it.
 * Where it is missing, or looks different, a handle of which the message is cut off stays open.
 */
import { asRawHandle, type RawHandle } from './raw-handle.js'

/** Made by the C++ side: the handle is there before `onread` is called with the bytes that it has come with. */
interface Pipe {
  pendingHandle?: unknown
  onread?: (this: unknown, bytes?: ArrayBuffer) => unknown
}

interface InternalEvents {
  on(event: 'internalMessage', listener: (message: { readonly cmd?: unknown } | null) => void): unknown
}

/**
 * Closes a handle whose message never comes whole, as the other end has died. A long message comes in parts, the handle with
 * the first; and behind a part of what is there libuv may report the end of file, with the rest unread (POLLHUP in
 * `uv__stream_io`, src/unix/stream.c). Node.js forgets the handle then: a client's connection would be open for as long as
 * this process lives, and nobody would read it.
 */
export function closeLostHandle(end: object): void {
  const pipe = pipeOf(end)
  const onread = pipe?.onread
  if (pipe === undefined || typeof onread !== 'function') return
  let arrived: RawHandle | undefined
  pipe.onread = function (bytes) {
    arrived = asRawHandle(pipe.pendingHandle) ?? arrived
    if (bytes === undefined) setImmediate(() => arrived?.close()) // when all that came whole has been heard
    return onread.call(this, bytes)
  }
  const events = end as InternalEvents
  events.on('internalMessage', message => {
    if (message?.cmd === 'NODE_HANDLE') arrived = undefined
  })
}

function pipeOf(end: object): Pipe | undefined {
  const symbol = Object.getOwnPropertySymbols(end).find(({ description }) => description === 'kChannelHandle')
  return (symbol && (end as Record<symbol, Pipe | null | undefined>)[symbol]) ?? undefined
}
