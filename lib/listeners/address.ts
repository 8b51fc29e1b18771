/** A listening socket together with the address that the application asked for. */
export interface ListenerAddress {
  /** `tcp:HOST:PORT`, `tcp:HOST:0#N` for the Nth one on a free port, `unix:PATH`, `fd:N`: as it was asked for. */
  readonly key: string
  /** Where it is bound: `127.0.0.1:3000`, `[::1]:3000`, or the path. */
  readonly bound: string
  /** Of a service manager, which goes on listening: the file of its Unix socket is not ours to remove. */
  readonly isForeign?: true
}

/** One inherited listener: a listening socket that is open in this process as a file descriptor. */
export interface OpenListener extends ListenerAddress {
  readonly fd: number
  /** Nobody waits for this process to ask for it: another worker of its generation does. */
  readonly isOptional?: true
}

export function isAddress(value: unknown): value is ListenerAddress {
  const address = value as Partial<ListenerAddress> | null | undefined
  return typeof address?.key === 'string' && typeof address.bound === 'string'
}
