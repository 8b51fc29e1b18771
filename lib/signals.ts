import { isatty } from 'node:tty'
import closeWithGrace from 'close-with-grace'
import { now } from './clock.js'
import type { Log } from './log.js'

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
/** Time in which a signal that was sent to all processes at once reaches them all, in milliseconds. */
export const signalSpread = 100
/** What npm, or a shell, may take to pass a signal on, and less than a person takes to type ^C again, in milliseconds. */
const echoTime = 200
/** What Node.js would end the process for. */
export const errorEvents = ['uncaughtException', 'unhandledRejection'] as const

/**
 * Upgrades on `signal`. Other listeners on it are taken off, with a warning: the common one is
 * close-with-grace's, in every template of fastify-cli, and would shut the server down.
 * @param signal `false` for none; Windows sends SIGHUP when its console is closed, which means nothing else
 * @param replaces a listener of ours that the caller takes off afterwards
 * @param onHangup the terminal that the process was started in has been closed, which is no wish for an upgrade
 */
export function onReload(
  signal: NodeJS.Signals | false,
  log: Log,
  handlers: { reload(): void; onHangup(): void },
  replaces?: () => void
): () => void {
  if (signal === false || process.platform === 'win32') return () => {}
  const inTerminal = isatty(0)
  const reload: NodeJS.Signals = signal
  const others = process.listeners(reload).filter(listener => listener !== replaces)
  process.on(reload, onSignal) // first: with the last listener goes a signal that has come and isn't told of yet
  for (const listener of others) takeOff(listener)
  process.on('newListener', onNewListener)
  return function leave() {
    process.off('newListener', onNewListener)
    process.off(reload, onSignal)
  }

  function onSignal(): void {
    if (reload === 'SIGHUP' && inTerminal && !isatty(0)) handlers.onHangup()
    else handlers.reload()
  }

  function onNewListener(event: string | symbol, listener: (...args: unknown[]) => void): void {
    if (event === reload) process.nextTick(takeOff, listener)
  }

  function takeOff(listener: (...args: never[]) => void): void {
    process.removeListener(reload, listener as () => void)
    log.warn(
      { signal: reload, listener: listener.name },
      `another listener on ${reload} was taken off, as ${reload} upgrades this server; if it is close-with-grace's, ` +
        `call closeWithGrace({ skip: ['${reload}'] }, …); or set another reloadSignal`
    )
  }
}

export interface CloseHandlers {
  readonly signals: readonly NodeJS.Signals[]
  /** Whether uncaught errors close the process too. */
  readonly errors: boolean
  readonly log: Log
  /** Drains and closes; resolves with the exit code. */
  close(signal: NodeJS.Signals | null, error?: Error): Promise<number>
  /** A second signal or error: the process exits with code 1 when this returns. */
  onSecond(): void
}

/** Ends the process gracefully on signals and uncaught errors, by close-with-grace. */
export function onClose(handlers: CloseHandlers): { closeNow(): void; leave(): void } {
  const { signals, errors, log } = handlers
  const wanted: readonly string[] = errors ? errorEvents : []
  let begun: { readonly signal: NodeJS.Signals | undefined; readonly time: number } | undefined
  const grace = closeWithGrace(
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
      begun ??= { signal: undefined, time: now() }
      const { signal } = begun
      if (err) log.fatal({ err }, 'uncaught error, closing')
      else log.info({ signal }, 'closing')
      const code = await handlers.close(signal ?? null, err)
      if (code !== 0) process.exit(code)
    }
  )
  for (const signal of signals) process.on(signal, onSignal)
  return {
    closeNow: () => close(),
    leave() {
      for (const signal of signals) process.off(signal, onSignal)
      grace.uninstall()
    }
  }

  function close(signal?: NodeJS.Signals): void {
    if (begun !== undefined) return
    begun = { signal, time: now() }
    grace.close()
  }

  function onSignal(signal: NodeJS.Signals): void {
    if (begun === undefined) return close(signal)
    // npm, and the init of init.ts, pass on to their child what the terminal, or systemd, has sent to both.
    if (signal === begun.signal && now() - begun.time < echoTime) return
    log.error({ signal }, 'second signal, ending at once')
    handlers.onSecond()
    process.exit(1)
  }
}

/** Whether nobody listens for a signal. */
export function isFree(signal: NodeJS.Signals): boolean {
  return process.listenerCount(signal) === 0
}

/**
 * Notes what listens for these signals now.
 * @returns takes off all of them
 */
export function listenersOf(signals: readonly NodeJS.Signals[]): () => void {
  const listeners = signals.flatMap(signal =>
    process.rawListeners(signal).map(listener => ({ signal, listener }))
  )
  return function takeOff() {
    for (const { signal, listener } of listeners) process.removeListener(signal, listener as () => void)
  }
}
