import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.js'
import { now } from '../time/clock.js'
import { wholeTurn } from '../time/event-loop.js'
import { isGraceListener } from './close-with-grace.js'
import { type Host, thisHost } from './host.js'
import { createRunning } from './running.js'
import { echoTime, errorEvents } from './signal-listeners.js'
import { createStandIns, isSignal, type StandIn } from './stand-ins.js'

/** What the application itself does at its end: its own listeners for the signals that end it. */
export interface OwnListeners {
  /**
   * From now on what these listeners begin is known, and close-with-grace is held back, whose delay would cut requests. One
   * of ours must listen for each signal until `leave()`: with the last listener goes a signal that isn't told of yet.
   * One that throws, or whose promise fails, is logged: as an uncaught error it would cut the requests that are drained.
   * @param errors close-with-grace's listeners for uncaught errors, too
   */
  follow(signals: readonly NodeJS.Signals[], errors: boolean, log: Log): void
  /** Takes that back. */
  leave(): void
  /** Lets the followed ones hear of a signal that nobody has sent, unless they have heard of one. */
  hear(signal: NodeJS.Signals): void
  /** From now on all followed ones are held back, as what they end is to be closed before. */
  holdAll(): void
  /** Lets run what was held back: no connection is left that it could cut. */
  release(): void
  /** Something of the application has come to its end: it may raise its signal again. */
  somethingEnded(): void
  /** Everything has, but for these listeners. */
  allEnded(): void
  /**
   * Whether the application itself has raised this signal again, as is the custom at the end of such a listener. Who sends
   * a signal is not told; but it comes just when something has ended. When everything has, it is the last word.
   */
  hasRaised(signal: NodeJS.Signals): boolean
  /** Resolves when they are done, or have had the last word. */
  done(): Promise<void>
}

export function createOwnListeners(host: Host = thisHost): OwnListeners {
  const standIns = createStandIns({ onCall, onTakenOff: somethingEnded }, host)
  const running = createRunning(somethingEnded)
  /** What runs them, once they may. */
  const held = new Map<StandIn, () => void>()
  /** Signals that they have heard of, and since when. */
  const heard = new Map<string, number>()
  let holdsAll = false
  /** A signal that comes now is no news to them. */
  let isOldNews = false
  /** How much has ended within the last `echoTime`. */
  let recentEnds = 0
  /** Everything has. */
  let isOver = false
  let log: Log | undefined
  return {
    follow(signals, errors, given) {
      log = given
      for (const event of [...signals, ...(errors ? errorEvents : [])]) standIns.follow(event)
    },
    leave: standIns.leave,
    hear,
    holdAll() {
      holdsAll = true
    },
    release,
    somethingEnded,
    allEnded() {
      isOver = true
    },
    hasRaised,
    done: running.done
  }

  function onCall(standIn: StandIn, args: readonly unknown[]): void {
    if (!isOldNews || !isSignal(standIn.event)) attempt(standIn, args)
  }

  function attempt(standIn: StandIn, args: readonly unknown[]): void {
    begin(standIn, () => run(standIn, args))
  }

  function begin({ event }: StandIn, call: () => unknown): void {
    const fail = (error: unknown) =>
      log?.error({ err: error, signal: event }, "the application's own listener failed")
    try {
      running.add(call(), fail)
    } catch (error) {
      fail(error)
    }
  }

  function run(standIn: StandIn, args: readonly unknown[]): unknown {
    const { event, listener } = standIn
    if (isSignal(event) && !heard.has(event)) heard.set(event, now())
    if (isGraceListener(listener)) return hold(standIn, () => end(standIn, args))
    return holdsAll ? hold(standIn, () => begin(standIn, () => standIn.run(args))) : standIn.run(args)
  }

  /** It ends the process itself. */
  function end(standIn: StandIn, args: readonly unknown[]): void {
    standIn.takeOff()
    running.addEndless()
    host.call(standIn.listener, args)
  }

  /** Closing may take it off, as with fastify-cli and NestJS. */
  function hold(standIn: StandIn, run: () => void): void {
    if (!held.has(standIn)) held.set(standIn, () => standIn.isInstalled() && run())
  }

  function release(): void {
    for (const [standIn, run] of held) {
      held.delete(standIn)
      run()
    }
  }

  function hear(signal: NodeJS.Signals): void {
    if (!standIns.isFollowed(signal) || heard.size > 0) return
    for (const standIn of standIns.of(signal)) attempt(standIn, [signal, constants.signals[signal]])
    isOldNews = true
  }

  function somethingEnded(): void {
    if (heard.size === 0) return
    recentEnds++
    // A busy event loop tells of a signal later: behind a timer that it has let wait, too.
    void sleep(echoTime, undefined, { ref: false })
      .then(wholeTurn)
      .then(() => recentEnds--)
  }

  function hasRaised(signal: NodeJS.Signals): boolean {
    const since = heard.get(signal)
    if (since === undefined || (!isOver && recentEnds === 0)) return false
    if (now() - since < echoTime) return true // or passed on by somebody
    isOldNews = true
    if (isOver) running.end()
    return true
  }
}
