import type { SendHandle } from 'node:child_process'
import { closeLostHandle } from '../internals/lost-handle.js'
import { asRawHandle, asSendHandle, type RawHandle } from '../internals/raw-handle.js'
import { createDeferred } from '../time/deferred.js'
import { wrap } from './envelope.js'
import type { MasterMessage, WorkerMessage } from './messages.js'

/** What Node.js has an IPC channel on: a child, or this process as one; in a test whatever plays the other side. */
export interface ChannelEnd {
  readonly connected: boolean
  readonly channel?: { ref(): void; unref(): void } | null | undefined
  send?(
    message: object,
    handle: SendHandle | undefined,
    options: object,
    onSent: (error: Error | null) => void
  ): boolean
  on(event: 'message', listener: (message: unknown, handle: unknown) => void): unknown
  off(event: 'message', listener: (message: unknown, handle: unknown) => void): unknown
  once(event: 'disconnect', listener: () => void): unknown
}

/** One end of the IPC channel between a master and its worker. */
export interface Channel<Message> {
  isOpen(): boolean
  /**
   * Queues a message behind the ones before it, the handle with it. An error means that the other end is gone, and
   * `lost` says so.
   * @param onSent it has left this process, or can't; behind a handle never before the other end has taken that
   */
  send(message: Message, handle?: RawHandle, onSent?: (error: Error | null) => void): void
  /** To be called once; what the application says over the same channel comes as well. */
  hear(listener: (message: unknown, handle: RawHandle | undefined) => void): void
  /** Whether the channel keeps this process alive. */
  keepAlive(value: boolean): void
  /** Resolves when the other end is gone, and what it said has been heard. */
  readonly lost: Promise<void>
}

/** How often to look for an end that Node.js doesn't tell of, in milliseconds. */
const lookInterval = 100

/**
 * Node.js sends no 'disconnect' while the other end has not acknowledged a handle, so never if it dies before it does:
 * only `connected` changes then. So that is looked at, from each handle on until something that was sent behind it
 * has left, as it waits for the acknowledgement.
 */
export function openChannel<Message extends MasterMessage | WorkerMessage>(
  end: ChannelEnd
): Channel<Message> {
  let handles = 0
  let looking: NodeJS.Timeout | undefined
  let keepsAlive = false
  const { promise: lost, resolve: tell } = createDeferred()
  if (end.connected) end.once('disconnect', onLost)
  else process.nextTick(onLost)
  closeLostHandle(end)
  return { isOpen: () => end.connected, send, hear, keepAlive, lost }

  function send(
    message: Message,
    handle?: RawHandle,
    onSent: (error: Error | null) => void = () => {}
  ): void {
    if (!end.connected) return
    if (handle !== undefined) handles++
    const before = handles
    end.send?.(wrap(message), handle && asSendHandle(handle), {}, error => {
      if (!error && handle === undefined && before === handles) stopLooking()
      onSent(error)
    })
    if (handle !== undefined) startLooking()
  }

  function hear(listener: (message: unknown, handle: RawHandle | undefined) => void): void {
    const onMessage = (message: unknown, handle: unknown) => listener(message, asRawHandle(handle))
    end.on('message', onMessage)
    void lost.then(() => end.off('message', onMessage))
  }

  function keepAlive(value: boolean): void {
    keepsAlive = value
    if (value) end.channel?.ref()
    else end.channel?.unref()
    refLooking()
  }

  function startLooking(): void {
    looking ??= setInterval(() => {
      if (!end.connected) onLost()
    }, lookInterval)
    refLooking()
  }

  /** The channel itself, once it has ended, keeps nothing alive. */
  function refLooking(): void {
    if (keepsAlive) looking?.ref()
    else looking?.unref()
  }

  function stopLooking(): void {
    clearInterval(looking)
    looking = undefined
  }

  function onLost(): void {
    stopLooking()
    tell()
  }
}
