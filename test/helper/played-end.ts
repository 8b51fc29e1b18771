import { EventEmitter } from 'node:events'
import { PassThrough } from 'node:stream'
import type { RawHandle } from '../../lib/internals/raw-handle.js'

/** What a process has said over its channel, as it is on the wire. */
export interface Said {
  readonly type: string
  readonly [field: string]: any
}

/** One end of an IPC channel, with what this process says to it; the test is the process behind it. */
export class PlayedEnd extends EventEmitter {
  connected = true
  /** Whether it keeps this process alive; it does until it is told. */
  isRef = true
  readonly said: Said[] = []
  readonly handles: unknown[] = []
  readonly channel = {
    ref: () => void (this.isRef = true),
    unref: () => void (this.isRef = false)
  }
  /** What waits for the other end to acknowledge a handle; undefined while it does so at once. */
  #waiting: (() => void)[] | undefined

  send(message: object, handle: unknown, _options: object, onSent: (error: Error | null) => void): boolean {
    this.said.push(JSON.parse(JSON.stringify(message)).gracefulUpgrade)
    if (handle !== undefined) this.handles.push(handle)
    const sent = () => process.nextTick(onSent, null)
    if (this.#waiting === undefined) sent()
    else this.#waiting.push(sent)
    return true
  }

  /** From now on it takes no handle, and whatever is sent behind one waits. */
  standStill(): void {
    this.#waiting = []
  }

  /** It takes what has come, and all that comes. */
  goOn(): void {
    for (const sent of this.#waiting ?? []) sent()
    this.#waiting = undefined
  }

  /** Says a message of the package. */
  say(inner: object, handle?: unknown): void {
    this.sayRaw({ gracefulUpgrade: JSON.parse(JSON.stringify(inner)) }, handle)
  }

  sayRaw(message: unknown, handle?: unknown): void {
    this.emit('message', message, handle)
  }

  types(): string[] {
    return this.said.map(({ type }) => type)
  }

  /** All that was said of one type. */
  saidOf(type: string): Said[] {
    return this.said.filter(said => said.type === type)
  }

  hangUp(): void {
    this.connected = false
    this.emit('disconnect')
  }
}

/** A child process that nobody has started. */
export class PlayedChild extends PlayedEnd {
  readonly stderr = new PassThrough()
  readonly kills: string[] = []
  pid: number | undefined = 4_711

  kill(signal: string): boolean {
    this.kills.push(signal)
    return true
  }

  /** Nothing of it is left, and nobody else has what it had. */
  end(code: number | null, signal: string | null = null): void {
    this.emit('exit', code, signal)
    this.stderr.destroy()
    this.hangUp()
  }
}

/** A socket's handle, that knows whether it is open. */
export class PlayedHandle implements RawHandle {
  readonly fd: number
  isOpen = true
  constructor(fd: number) {
    this.fd = fd
  }
  listen(): number {
    throw new Error('nobody may listen here')
  }
  close(): void {
    if (!this.isOpen) throw new Error('it is closed twice')
    this.isOpen = false
  }
}
