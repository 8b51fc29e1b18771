import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../signals/host.js'
import { onClose } from '../signals/on-close.js'
import { onReload } from '../signals/on-reload.js'
import { echoTime, hasNoListener, ours, passedOn, signalSpread } from '../signals/signal-listeners.js'
import { watchTerminal } from '../signals/terminal.js'
import { now } from '../time/clock.js'
import type { ProcessContext } from './role.js'

/** What a worker installs for signals. Nothing is taken off before what replaces it is there. */
export interface WorkerSignals {
  /**
   * `pkill -HUP` means whoever runs: its default action would end a generation that boots.
   * @returns takes that back
   */
  reloadWhileBooting(): () => void
  /** While it doesn't serve yet it takes what closes it, and no errors: they are why it fails to start. */
  closeWhileBooting(): Installed
  closeAndReload(): Installed
  hasReceived(signal: NodeJS.Signals): boolean
  /** The application's own listeners hear of a signal that nobody has sent. */
  tellOwn(signal: NodeJS.Signals): void
}

export interface Installed {
  /** The master passes on that all shall end. */
  close(signal: NodeJS.Signals | null): void
  remove(): void
}

export interface WorkerSignalHandlers {
  /** Never rejects. */
  upgrade(): Promise<void>
  /** @returns whether it serves on until another one takes its place: nothing has begun to close then */
  leave(): boolean
  /** @param error it was not caught */
  close(error: Error | undefined): Promise<0 | 1>
  /** A second signal: no delay any more. */
  hurry(): void
}

export function createWorkerSignals(
  { application, own }: ProcessContext,
  { upgrade, leave, close, hurry }: WorkerSignalHandlers,
  host: Host
): WorkerSignals {
  const terminal = watchTerminal(() => {})
  /**
   * When each came first, by `time/clock.ts`. A signal may come through the master, and to all processes at once from a terminal or systemd: it
   * counts once.
   */
  const received = new Map<NodeJS.Signals, number>()
  return {
    reloadWhileBooting() {
      host.on('SIGHUP', onEarlyReload)
      return () => host.off('SIGHUP', onEarlyReload)
    },
    closeWhileBooting: () => takeCloseSignals(false),
    closeAndReload,
    hasReceived: signal => received.has(signal),
    tellOwn
  }

  async function onEarlyReload(): Promise<void> {
    if (application.options.reloadSignal !== 'SIGHUP' || (await terminal.hasHungUp())) return
    await upgrade()
  }

  function closeAndReload(): Installed {
    const { log, options } = application
    const closing = takeCloseSignals(options.closeSignals !== false)
    const reloading = {
      reload: () => void upgrade(),
      onHangup() {}, // the master ends this process, or goes on
      terminal
    }
    const leaveReload = onReload(options.reloadSignal, log, reloading, onEarlyReload, host)
    return {
      close: closing.close,
      remove() {
        closing.remove()
        leaveReload()
      }
    }
  }

  function takeCloseSignals(errors: boolean): Installed {
    const { log, options } = application
    const delayed = () => application.untilDrain
    const closing = onClose(
      { signals: [], errors, log, close: (_signal, error) => close(error), delayed, onSecond() {} },
      host
    )
    const stopHearing = options.closeSignals
      ? listen(options.closeSignals, ours(onSignal), host)
      : listenBeside(passedOn, ours(onSignal), host)
    if (options.closeSignals) own.follow(options.closeSignals, errors, log)
    return {
      close: closeAsAsked,
      remove() {
        stopHearing()
        closing.leave()
      }
    }

    function onSignal(signal: NodeJS.Signals): void {
      // The first one is news, whatever a listener in front of this one has ended: once() has taken itself off.
      const first = received.get(signal)
      const isNews = first === undefined && !application.ending
      if (first === undefined) received.set(signal, now())
      if (!isNews && own.hasRaised(signal)) return
      if (application.isClosing && (first === undefined || now() - first >= echoTime)) hurry()
      if (options.closeSignals && !leave()) closing.closeNow()
    }

    /** What the application listens for itself shall hear of the signal too, as in the first generation. */
    function closeAsAsked(signal: NodeJS.Signals | null): void {
      if (signal === null) {
        closing.closeNow()
        if (options.closeSignals) own.hear('SIGTERM')
        return
      }
      void sleep(signalSpread).then(() => {
        if (received.has(signal)) return
        if (hasNoListener(signal, host)) host.kill(host.pid, signal)
        else host.emit(signal, signal)
      })
    }
  }

  function tellOwn(signal: NodeJS.Signals): void {
    if (hasNoListener(signal, host)) return
    host.on(signal, ours(own.hasRaised)) // of us nobody may listen for it yet
    own.follow([signal], false, application.log)
    own.hear(signal)
  }
}

type SignalListener = (signal: NodeJS.Signals) => void

/** @returns takes the listener off */
function listen(signals: Iterable<NodeJS.Signals>, listener: SignalListener, host: Host): () => void {
  for (const signal of signals) host.on(signal, listener)
  return () => {
    for (const signal of signals) host.off(signal, listener)
  }
}

/** Only where somebody else listens, too: alone it would keep the default action away. */
function listenBeside(signals: readonly NodeJS.Signals[], listener: SignalListener, host: Host): () => void {
  const heard = new Set(signals.filter(signal => !hasNoListener(signal, host)))
  const stop = listen(heard, listener, host)
  host.on('newListener', onNewListener)
  return () => {
    host.off('newListener', onNewListener)
    stop()
  }

  function onNewListener(event: string | symbol): void {
    const signal = signals.find(each => each === event)
    if (signal === undefined || heard.has(signal)) return
    heard.add(signal)
    host.on(signal, listener)
  }
}
