import type { Log } from '../log.js'
import type { Master } from '../master/master.js'
import type { Host } from '../signals/host.js'
import { onClose } from '../signals/on-close.js'
import { errorEvents, listenersOf, passedOn } from '../signals/signal-listeners.js'
import type { ProcessContext } from './role.js'

/** What a process that serves, and is the master too, installs for signals and its own end. */
export interface StandaloneSignals {
  /** As by SIGTERM, which nobody has sent. */
  stop(): void
  /**
   * The application goes; what it listens for itself would end the process under the worker, and so would an error
   * of what is left of it. The new listeners come before the old ones go, so that no signal meets its default
   * action between.
   */
  retire(): void
  remove(): void
}

export interface StandaloneSignalHandlers {
  /** There is none before its signals are installed: it may start a worker at once. */
  master(): Pick<Master, 'hurry' | 'kill' | 'abandon'> & {
    /** @param error it was not caught */
    close(signal: NodeJS.Signals | null, error?: Error): Promise<number>
  }
  /** Whether this process is the one that serves. */
  isServing(): boolean
  readonly log: Log
}

export function installStandaloneSignals(
  { application, own }: Pick<ProcessContext, 'application' | 'own'>,
  { master, isServing, log }: StandaloneSignalHandlers,
  host: Host
): StandaloneSignals {
  const { options } = application
  const { closeSignals } = options
  /** Of the application that serves, and then of the master that is left. */
  let closing = closeOn(closeSignals || [], closeSignals !== false)
  if (closeSignals) own.follow(closeSignals, true, log)
  host.on('exit', onExit)
  return { stop, retire, remove }

  function closeOn(signals: readonly NodeJS.Signals[], errors: boolean) {
    const { hasRaised } = own
    const close = (signal: NodeJS.Signals | null, error?: Error) => master().close(signal, error)
    const hurry = () => master().hurry()
    const [delayed, onSecond] = [() => application.untilDrain, () => master().kill()]
    return onClose({ signals, errors, log, close, hurry, delayed, onSecond, hasRaised }, host)
  }

  function stop(): void {
    closing.closeNow()
    own.hear('SIGTERM')
  }

  /** The application means that all shall end, if it says so with 0: a worker would go on, and keep the port. */
  function onExit(code: number): void {
    if (code !== 0) return
    if (isServing()) master().abandon()
    else void master().close(null)
  }

  function retire(): void {
    const signals = [...new Set([...(closeSignals || []), ...passedOn])]
    own.leave()
    const takeOff = listenersOf(signals, closeSignals !== false, host)
    const old = closing
    closing = closeOn(signals, false)
    for (const event of closeSignals ? errorEvents : []) {
      host.on(event, error => log.error({ err: error }, 'uncaught error in a retired generation'))
    }
    old.leave()
    takeOff()
  }

  function remove(): void {
    own.leave()
    closing.leave()
    host.off('exit', onExit)
  }
}
