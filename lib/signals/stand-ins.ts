import { constants } from 'node:os'
import { isGraceListener, isSecondGraceListener } from './close-with-grace.js'
import type { AnyListener, Host } from './host.js'
import { isOurs, shownBy } from './signal-listeners.js'

/** Stands in the place of a listener and shows it, as `once()` does, so that the application finds it, and can take it off. */
export interface StandIn {
  (...args: unknown[]): void
  readonly event: string
  readonly listener: AnyListener
  /** Calls the listener; one of `once()` has its place back, which it takes itself off. */
  run(args: readonly unknown[]): unknown
  isInstalled(): boolean
  takeOff(): void
}

export interface StandIns {
  /**
   * From now on each listener for the event has a stand-in, also one that comes later: all of a signal's but ours; of an
   * uncaught error's those of close-with-grace.
   */
  follow(event: string): void
  isFollowed(event: string): boolean
  /** In the order in which they are called. */
  of(event: string): StandIn[]
  /** The listeners have their places back. */
  leave(): void
}

export interface StandInHandlers {
  onCall(standIn: StandIn, args: readonly unknown[]): void
  /** A listener, or its stand-in, was taken off. */
  onTakenOff(): void
}

export function createStandIns(handlers: StandInHandlers, host: Host): StandIns {
  const followed = new Set<string>()
  /** What stood where each of them stands. */
  const originals = new Map<AnyListener, AnyListener>()
  /** What is put on and off in the meantime is our own doing. */
  let isRearranging = false
  return { follow, isFollowed: event => followed.has(event), of, leave }

  function follow(event: string): void {
    if (followed.has(event)) return
    if (followed.size === 0) {
      host.on('newListener', onNewListener)
      host.on('removeListener', onRemoveListener)
    }
    followed.add(event)
    rearrange(event)
  }

  function leave(): void {
    host.off('newListener', onNewListener)
    host.off('removeListener', onRemoveListener)
    for (const standIn of originals.keys() as Iterable<StandIn>) if (standIn.isInstalled()) putBack(standIn)
    followed.clear()
    originals.clear()
  }

  function of(event: string): StandIn[] {
    return host.rawListeners(event).filter(isStandIn)
  }

  function isStandIn(listener: AnyListener): listener is StandIn {
    return originals.has(listener)
  }

  function onNewListener(event: string | symbol): void {
    if (typeof event !== 'string' || !followed.has(event) || isRearranging) return
    process.nextTick(() => followed.has(event) && rearrange(event))
  }

  function onRemoveListener(event: string | symbol): void {
    if (typeof event === 'string' && followed.has(event) && !isRearranging) handlers.onTakenOff()
  }

  /** All are taken off, the last one first, and put back in their order. */
  function rearrange(event: string): void {
    const listeners = host.rawListeners(event).filter(listener => {
      return !isOurs(listener) && (isSignal(event) || isGraceListener(shownBy(listener)))
    })
    if (listeners.every(isStandIn)) return
    isRearranging = true
    for (const listener of listeners.toReversed()) host.off(event, listener)
    for (const listener of listeners) {
      // What is a second signal, and not one that npm has passed on, is ours to say.
      if (isSecondGraceListener(listener)) continue
      host.on(event, isStandIn(listener) ? listener : createStandIn(event, listener))
    }
    isRearranging = false
  }

  function createStandIn(event: string, original: AnyListener): StandIn {
    const standIn: StandIn = Object.assign((...args: unknown[]) => handlers.onCall(standIn, args), {
      event,
      listener: shownBy(original),
      run(args: readonly unknown[]) {
        if (standIn.listener !== original) putBack(standIn) // of once()
        return host.call(original, args)
      },
      isInstalled: () => host.rawListeners(event).includes(standIn),
      takeOff: () => host.off(event, standIn)
    })
    originals.set(standIn, original)
    return standIn
  }

  function putBack(standIn: StandIn): void {
    const original = originals.get(standIn) as AnyListener
    isRearranging = true
    host.on(standIn.event, original)
    host.off(standIn.event, standIn)
    originals.delete(standIn)
    isRearranging = false
  }
}

/** Else it is an uncaught error. */
export function isSignal(event: string): boolean {
  return Object.hasOwn(constants.signals, event)
}
