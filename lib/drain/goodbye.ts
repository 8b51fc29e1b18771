import type { Server, Socket } from 'node:net'
import { connectionOf } from '../connections/connection.js'
import type { Connections } from '../connections/connections.js'
import type { Handover } from '../handover/handover.js'
import { type KeptConnection, keptOf } from '../kept/kept.js'
import type { Mover } from '../kept/mover.js'
import { stillToSay } from '../kept/swallow.js'
import { announceClose } from './http1.js'
import { endSessions } from './http2.js'
import type { DrainReason } from './report.js'
import type { Sweeper } from './sweep.js'
import type { Tally } from './tally.js'
import { endWebSockets } from './web-sockets.js'

/** Tells the clients of a drain to go, each in the words of its protocol. */
export interface Goodbye {
  /** Tells those who are to be told as of late. */
  renew(): void
  /** The deadline. */
  cutSessions(): void
  /** What speaks HTTP has gone. Resolves when all WebSockets have been told that are there. */
  toldAll(): Promise<void>
  /** Tells WebSockets that come late, from time to time, until all connections are gone. */
  keepTelling(gone: Promise<unknown>): void
}

export interface GoodbyeOptions {
  readonly connections: ReadonlyMap<Server, Connections>
  readonly reason: () => DrainReason
  /** What becomes of plain HTTP/1.1 connections on the way to an upgrade. */
  readonly moves: 'idle' | 'all' | false
  /** Whether those are told as well that would move: there may be no time for all of them. */
  readonly isLate: () => boolean
  readonly handover: Handover | undefined
  readonly mover?: Pick<Mover, 'mayMove'> | undefined
  readonly tally: Tally
  readonly sweeper: Sweeper
  /** Longest pause between two looks for WebSockets, in milliseconds. */
  readonly pollInterval: number
  /** Time over which WebSockets and HTTP/2 sessions are told, in milliseconds. */
  readonly spreadTime: number
  /** Resolves when the application has said goodbye itself; its WebSockets are told then. */
  readonly farewell?: Promise<unknown>
  /** Nobody is waited for any longer. */
  readonly timeUp: AbortSignal
}

export function sayGoodbye(options: GoodbyeOptions): Goodbye {
  const { connections, reason, moves, isLate, handover, mover, tally, sweeper, spreadTime, timeUp } = options
  const begin = Promise.race([options.farewell, aborted(timeUp)])
  /** The application was told of these that they stay. */
  const known = new WeakSet(staying())
  let hasBegun = false
  void begin.then(() => {
    hasBegun = true
    endStreams()
  })
  const webSockets = endWebSockets(connections.values(), {
    reason,
    spreadTime,
    begin,
    signal: timeUp,
    isSpared: socket => mover?.mayMove(socket) === true,
    onTold: socket => tally.toldWebSocket(connectionOf(socket))
  })
  const announcement = announceClose(connections, {
    wants,
    onResponseEnd: socket => sweeper.answered(connectionOf(socket))
  })
  const sessions = endSessions([...connections.keys()], { spreadTime, onTold: tally.toldSession })

  /** What a client was told by an older generation is not told otherwise. */
  function wants(socket: Socket): boolean {
    if (stillToSay(socket) !== undefined) return false
    return moves !== 'all' || isLate() || reason() === 'close' || !handover?.canGoNow(connectionOf(socket))
  }

  /** Kept streams that turn out not to move: the application believes that they do, and so it has not ended them. */
  function endStreams(): void {
    if (!hasBegun) return
    for (const kept of staying()) if (!known.has(kept)) kept.subject.end?.()
  }

  /** Those of the kept connections that don't move; none where nothing moves, as the application knows that. */
  function staying(): KeptConnection[] {
    if (mover === undefined) return []
    return [...connections.values()].flatMap(({ sockets }) =>
      [...sockets].flatMap(socket => {
        const kept = keptOf(socket)
        return kept === undefined || mover.mayMove(socket) ? [] : [kept]
      })
    )
  }

  return {
    renew() {
      announcement.renew()
      webSockets.tellLate()
      endStreams()
    },
    cutSessions: () => void sessions.cut(),
    async toldAll() {
      announcement.stop()
      sessions.stop()
      await webSockets.firstTold
      webSockets.tellLate() // whose handshake has ended meanwhile: closing the application may end it in its own words
    },
    keepTelling: gone => webSockets.keepTelling(options.pollInterval, gone)
  }
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return signal.aborted
    ? Promise.resolve()
    : new Promise(resolve => signal.addEventListener('abort', resolve))
}
