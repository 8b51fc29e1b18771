import { isGraceListener } from './close-with-grace.js'
import { type AnyListener, type Host, thisHost } from './host.js'

/** What a master passes on to its worker whatever the application's `closeSignals` are. */
export const passedOn: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT']

/** Time in which a signal that was sent to all processes at once reaches them all, in milliseconds. */
export const signalSpread = 100

/** What npm, or a shell, may take to pass a signal on, and less than a person takes to type ^C again, in milliseconds. */
export const echoTime = 200

/** What Node.js would end the process for. */
export const errorEvents = ['uncaughtException', 'unhandledRejection'] as const

const mark = Symbol('listener of fastify-graceful-upgrade')

/** Marks a listener as none of the application's. */
export function ours<Own extends object>(listener: Own): Own {
  return Object.assign(listener, { [mark]: true })
}

export function isOurs(listener: object): boolean {
  return mark in listener
}

/**
 * Calls what puts other listeners in the place of those for these signals. Without one in between a signal would meet its default
 * action, and one that isn't told of yet would be lost.
 */
export function withoutGap<Result>(
  signals: readonly NodeJS.Signals[],
  host: Host,
  exchange: () => Result
): Result {
  const keeper = ours(() => {})
  for (const signal of signals) host.on(signal, keeper)
  try {
    return exchange()
  } finally {
    for (const signal of signals) host.off(signal, keeper)
  }
}

export function errorListeners(host: Host): Set<AnyListener> {
  return new Set(errorEvents.flatMap(event => host.rawListeners(event)))
}

export function hasNoListener(signal: NodeJS.Signals, host: Host): boolean {
  return host.rawListeners(signal).length === 0
}

/**
 * Notes what listens for these signals now.
 * @param errors close-with-grace's listeners for errors, which end the process, too
 * @returns takes off all of them
 */
export function listenersOf(
  signals: readonly NodeJS.Signals[],
  errors: boolean,
  host: Host = thisHost
): () => void {
  const listeners = [
    ...signals.map(event => [event, host.rawListeners(event)] as const),
    ...(errors ? errorEvents : []).map(
      event => [event, host.rawListeners(event).filter(raw => isGraceListener(shownBy(raw)))] as const
    )
  ]
  return function takeOff() {
    for (const [event, some] of listeners) for (const listener of some) host.off(event, listener)
  }
}

/** The application's own function behind what `once()` has made of it, or a stand-in for it. */
export function shownBy(raw: AnyListener): AnyListener {
  return (raw as { listener?: AnyListener }).listener ?? raw
}
