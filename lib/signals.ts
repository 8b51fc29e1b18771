import { isatty } from 'node:tty'
import closeWithGrace from 'close-with-grace'
import type { FastifyBaseLogger } from 'fastify'

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
const errorEvents = ['uncaughtException', 'unhandledRejection'] as const

/** Takes the listeners off again. */
export type Uninstall = () => void

/**
 * Upgrades on `signal`. Other listeners on it are taken off, with a warning: the common one is
 * close-with-grace's, in every template of fastify-cli, and would shut the server down.
 * @param onHangup the terminal that the process was started in has been closed, which is no wish for an upgrade
 */
export function onReload(
  signal: NodeJS.Signals,
  log: FastifyBaseLogger,
  { reload, onHangup }: { reload(): void; onHangup(): void }
): Uninstall {
  const inTerminal = isatty(0)
  for (const listener of process.listeners(signal)) takeOff(listener)
  process.on(signal, onSignal)
  process.on('newListener', onNewListener)
  return function uninstall() {
    process.off('newListener', onNewListener)
    process.off(signal, onSignal)
  }

  function onSignal(): void {
    if (signal === 'SIGHUP' && inTerminal && !isatty(0)) onHangup()
    else reload()
  }

  function onNewListener(event: string | symbol, listener: (...args: unknown[]) => void): void {
    if (event === signal) process.nextTick(takeOff, listener)
  }

  function takeOff(listener: (...args: never[]) => void): void {
    process.removeListener(signal, listener as () => void)
    log.warn(
      { signal, listener: listener.name },
      `another listener on ${signal} was taken off, as ${signal} upgrades this server; if it is close-with-grace's, ` +
        `call closeWithGrace({ skip: ['${signal}'] }, …); or set another reloadSignal`
    )
  }
}

export interface CloseHandlers {
  readonly signals: readonly NodeJS.Signals[]
  /** Whether uncaught errors close the process too. */
  readonly errors: boolean
  readonly log: FastifyBaseLogger
  /** Drains and closes; resolves with the exit code. */
  close(signal: NodeJS.Signals | null): Promise<number>
  /** A second signal or error: the process exits with code 1 when this returns. */
  onSecond(): void
}

/**
 * Ends the process gracefully on signals and uncaught errors, by close-with-grace. What the application listens
 * for itself is left to it: its own `fastify.close()` drains as well, and two that exit would cut each other off.
 */
export function onClose(handlers: CloseHandlers): { closeNow(): void; uninstall: Uninstall } {
  const { signals, errors, log } = handlers
  const wanted = new Set<string>([...signals, ...(errors ? errorEvents : [])].filter(isFree))
  const grace = closeWithGrace(
    {
      delay: false,
      logger: log,
      skip: graceEvents.filter(event => !wanted.has(event)),
      onSecondSignal(signal) {
        log.error({ signal }, 'second signal, ending at once')
        handlers.onSecond()
      },
      onSecondError(error) {
        log.error({ err: error }, 'second error, ending at once')
        handlers.onSecond()
      }
    },
    async ({ signal, err }) => {
      if (err) log.fatal({ err }, 'uncaught error, closing')
      else log.info({ signal }, 'closing')
      const code = await handlers.close(signal ?? null)
      if (code !== 0) process.exit(code)
    }
  )
  let closing = false
  return {
    closeNow() {
      if (!closing) grace.close()
      closing = true
    },
    uninstall: grace.uninstall
  }
}

/** Whether nobody listens for a signal or an error of the process. */
export function isFree(event: string): boolean {
  return process.listenerCount(event) === 0
}

/** Takes off what the application listens for: it is closed, and this process is a master from now on. */
export function takeSignals(signals: readonly NodeJS.Signals[]): void {
  for (const signal of signals) process.removeAllListeners(signal)
}
