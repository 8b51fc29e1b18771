import { EventEmitter } from 'node:events'
import type closeWithGrace from 'close-with-grace'
import type { AnyListener, Host } from '../../../lib/signals/host.js'
import { createDeferred } from '../../../lib/time/deferred.js'

/** A process that only a test knows: what is done to it is told, and it never ends. */
export interface PlayedHost extends Host {
  ppid: number
  /** What it was asked for: `exit 0`, `kill 100 SIGTERM`. */
  readonly asked: string[]
  /** Resolves with the first code that it was to end with. */
  readonly exited: Promise<number>
  /** Events that nobody listened for any more at some moment: the default action of a signal would have been taken then. */
  readonly gaps: Set<string | symbol>
  /** Time passes: all is called that it calls again and again. */
  tick(): void
  /** Who listens, by event, where somebody does. */
  listening(): Record<string, number>
}

export function playHost(): PlayedHost {
  const events = new EventEmitter().setMaxListeners(0)
  const exited = createDeferred<number>()
  const asked: string[] = []
  const gaps = new Set<string | symbol>()
  const timers = new Set<() => void>()
  events.on('removeListener', event => {
    if (events.listenerCount(event) === 0) gaps.add(event)
  })
  const host: PlayedHost = {
    pid: 100,
    ppid: 10,
    asked,
    exited: exited.promise,
    gaps,
    on: (event, listener) => void events.on(event, listener as AnyListener),
    off: (event, listener) => void events.off(event, listener as AnyListener),
    emit: (event, ...args) => void events.emit(event, ...args),
    rawListeners: event => events.rawListeners(event) as AnyListener[],
    call: (listener, args) => Reflect.apply(listener, events, args),
    kill: (pid, signal) => void asked.push(`kill ${pid} ${signal}`),
    exit(code) {
      asked.push(`exit ${code}`)
      exited.resolve(code)
      return undefined as never
    },
    every(_pause, call) {
      timers.add(call)
      return () => timers.delete(call)
    },
    tick() {
      for (const call of timers) call()
    },
    closeWithGrace: ((options: closeWithGrace.Options, close: closeWithGrace.CloseWithGraceAsyncCallback) =>
      playCloseWithGrace(host, options, close)) as unknown as typeof closeWithGrace,
    listening() {
      const counts = events.eventNames().map(event => [event, events.listenerCount(event)] as const)
      const { removeListener = 1, ...others } = Object.fromEntries(counts)
      return removeListener === 1 ? others : { ...others, removeListener: removeListener - 1 }
    }
  }
  return host
}

/** As far as we use it: for uncaught errors, and by its `close()`. */
function playCloseWithGrace(
  host: Host,
  { skip = [], onSecondError }: closeWithGrace.Options,
  close: closeWithGrace.CloseWithGraceAsyncCallback
) {
  const events = (['uncaughtException', 'unhandledRejection'] as const).filter(each => !skip.includes(each))
  for (const event of events) host.on(event, onError)
  return { close: () => run({ manual: true }), uninstall }

  function uninstall(): void {
    for (const event of events) host.off(event, onError)
  }

  function onError(err: Error): void {
    void run({ err })
  }

  async function run(out: { manual?: boolean; err?: Error }): Promise<void> {
    uninstall()
    for (const event of events) {
      host.on(event, (err: Error) => {
        onSecondError?.(err)
        host.exit(1)
      })
    }
    await close(out)
    host.exit(out.err === undefined ? 0 : 1)
  }
}
