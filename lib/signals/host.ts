import closeWithGrace from 'close-with-grace'

export type AnyListener = (...args: unknown[]) => unknown

/** Whatever it wants to be told. */
type SomeListener = (...args: never[]) => unknown

/** The process that signals come to, as far as they and the roles touch it: a test plays another one. */
export interface Host {
  readonly pid: number
  readonly ppid: number
  on(event: string, listener: SomeListener): void
  off(event: string, listener: SomeListener): void
  emit(event: string, ...args: unknown[]): void
  /** With what `once()` has made of a listener. */
  rawListeners(event: string): AnyListener[]
  /** Calls a listener of it. */
  call(listener: AnyListener, args: readonly unknown[]): unknown
  kill(pid: number, signal: NodeJS.Signals): void
  exit(code: number): never
  /**
   * Calls again and again with this pause, in milliseconds, but keeps no process alive.
   * @returns ends that
   */
  every(pause: number, call: () => void): () => void
  /** It listens in its host, too. */
  readonly closeWithGrace: typeof closeWithGrace
}

/** Nothing of `process` is taken in advance: others may wrap it later. */
export const thisHost: Host = {
  pid: process.pid,
  get ppid() {
    return process.ppid
  },
  on: (event, listener) => void process.on(event, listener as AnyListener),
  off: (event, listener) => void process.off(event, listener as AnyListener),
  emit: (event, ...args) => void (process as NodeJS.EventEmitter).emit(event, ...args),
  rawListeners: event => process.rawListeners(event) as AnyListener[],
  call: (listener, args) => Reflect.apply(listener, process, args),
  kill: (pid, signal) => void process.kill(pid, signal),
  exit: code => process.exit(code),
  every(pause, call) {
    const timer = setInterval(call, pause).unref()
    return () => clearInterval(timer)
  },
  closeWithGrace
}
