/**
 * Handles of libuv as they go from process to process. What doesn't look like one is none: whoever waits for it refuses.
 */
import type { SendHandle } from 'node:child_process'

/** libuv's stream handle: `net.Server#_handle`, and what arrives over IPC when such a handle was sent. */
export interface RawHandle {
  readonly fd: number
  listen(backlog: number): number
  close(callback?: () => void): void
}

/** A raw handle is a legal argument of `process.send()`, as 'net.Native', though no documented one. */
export function asSendHandle(handle: RawHandle): SendHandle {
  return handle as unknown as SendHandle
}

/** What came with an IPC message, if it is a raw handle. */
export function asRawHandle(handle: unknown): RawHandle | undefined {
  const raw = handle as Partial<RawHandle> | null | undefined
  return typeof raw?.fd === 'number' && typeof raw.close === 'function' ? (raw as RawHandle) : undefined
}
