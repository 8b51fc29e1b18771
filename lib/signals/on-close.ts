import type closeWithGrace from 'close-with-grace'
import type { Log } from '../log.js'
import { now } from '../time/clock.js'
import { type Host, thisHost } from './host.js'
import { echoTime, errorEvents, errorListeners, ours } from './signal-listeners.js'

/** What close-with-grace would take besides; SIGHUP among them, which would turn a reload into a shutdown. */
const graceEvents: readonly closeWithGrace.AllEvents[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGSEGV',
  'SIGUSR2',
  'SIGTERM',
  'uncaughtException',
  'unhandledRejection',
  'beforeExit'
]

export interface CloseHandlers {
  readonly signals: readonly NodeJS.Signals[]
  /** Whether uncaught errors close the process too. */
  readonly errors: boolean
  readonly log: Log
  /** Drains and closes; resolves with the exit code. */
  close(signal: NodeJS.Signals | null, error?: Error): Promise<number>
  /** A second signal, which may only skip a delay; and an uncaught error, which waits for none. @returns whether it has */
  hurry?(): boolean
  /** Resolves when a delay is over in which the process serves on; undefined where there is none. An error in it is the first one. */
  delayed?(): Promise<unknown> | undefined
  /** A second signal or error: the process exits with code 1 when this returns. */
  onSecond(): void
  /** Whether a signal that comes again has been raised by the application itself. */
  hasRaised?(signal: NodeJS.Signals): boolean
}

/** Ends the process gracefully on signals and uncaught errors, by close-with-grace. */
export function onClose(handlers: CloseHandlers, host: Host = thisHost): { closeNow(): void; leave(): void } {
  const { signals, errors, log } = handlers
  const wanted: readonly string[] = errors ? errorEvents : []
  let begun: { readonly signal: NodeJS.Signals | undefined; readonly time: number } | undefined
  let closed: Promise<number> | undefined
  let isGraceful = false
  const others = errorListeners(host)
  const grace = host.closeWithGrace(
    {
      delay: false,
      logger: log,
      skip: graceEvents.filter(event => !wanted.includes(event)), // it would take each signal for a second one
      onSecondError(error) {
        log.error({ err: error }, 'second error, ending at once')
        handlers.onSecond()
      }
    },
    async ({ err }) => {
      isGraceful = true
      begun ??= { signal: undefined, time: now() }
      if (err) {
        log.fatal({ err }, 'uncaught error, closing')
        closed = handlers.close(begun.signal ?? null, err)
        handlers.hurry?.()
      }
      const code = await closed
      if (code) host.exit(code)
    }
  )
  for (const listener of errorListeners(host)) if (!others.has(listener)) ours(listener)
  for (const signal of signals) host.on(signal, ours(onSignal))
  return {
    closeNow: () => close(),
    leave() {
      for (const signal of signals) host.off(signal, onSignal)
      grace.uninstall()
    }
  }

  function close(signal?: NodeJS.Signals): void {
    if (begun !== undefined) return
    begun = { signal, time: now() }
    log.info({ signal }, 'closing')
    closed = handlers.close(signal ?? null)
    const delayed = handlers.delayed?.()
    if (delayed === undefined) grace.close()
    else void delayed.then(() => isGraceful || grace.close())
  }

  function onSignal(signal: NodeJS.Signals): void {
    if (begun === undefined) return close(signal)
    // npm, and an init that is told to (tini -g), pass on to their child what the terminal, or systemd, has sent to both.
    if (signal === begun.signal && now() - begun.time < echoTime) return
    if (handlers.hasRaised?.(signal)) return
    if (handlers.hurry?.()) {
      begun = { signal, time: now() } // which somebody may pass on, too
      return log.info({ signal }, 'second signal, draining now')
    }
    log.error({ signal }, 'second signal, ending at once')
    handlers.onSecond()
    host.exit(1)
  }
}

/** Whoever waits in front of a terminal learns why, and how to end that. */
export function tellDelay(log: Pick<Log, 'info'>, what: { readonly closeDelay: number }): void {
  log.info(what, 'serving on for closeDelay, a second signal skips it')
}
