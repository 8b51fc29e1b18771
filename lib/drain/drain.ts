import type { Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { type Connections, connectionsOf } from '../connections/connections.js'
import { type Handover, prepareHandover, sumMoves } from '../handover/handover.js'
import type { Relay } from '../handover/offer.js'
import { slowStart } from '../handover/pace.js'
import { expectsConnection } from '../kept/expected.js'
import { createMover, type Mover } from '../kept/mover.js'
import type { ListenerAddress } from '../listeners/address.js'
import { holdClose, stopAccepting } from '../listeners/stop-accepting.js'
import { afterReading, wholeTurn } from '../time/event-loop.js'
import { cutHttp, cutRest } from './cut.js'
import { sayGoodbye } from './goodbye.js'
import { holdUpsOf, watchHoldUps } from './hold-ups.js'
import { createDrainLog, held } from './log.js'
import type { DrainReason, DrainReport } from './report.js'
import { createSweeper } from './sweep.js'
import { createTally, type Tally } from './tally.js'

export interface DrainOptions {
  /** May turn from 'upgrade' to 'close' while the drain lasts. */
  readonly reason: () => DrainReason
  /** Longest pause between two sweeps, in milliseconds. */
  readonly pollInterval: number
  /** Longest time of the whole drain, in milliseconds. */
  readonly drainTimeout: number
  readonly log: FastifyBaseLogger
  /** Fastify's option: where the id of a request comes from. */
  readonly requestIdHeader?: string | boolean | undefined
  /** On the way to an upgrade: what becomes of plain HTTP/1.1 connections, and how they get to the next generation. */
  readonly handover: 'idle' | 'all' | false
  readonly relay: Relay | undefined
  /** Whoever takes them is warmed up: all at once. */
  readonly isUrgent?: boolean
  readonly addressOf: (server: Server) => ListenerAddress | undefined
  /** Time over which WebSockets and HTTP/2 sessions are told, in milliseconds. */
  readonly spreadTime: number
  /** Time over which idle connections that don't move are ended, in milliseconds. */
  readonly idleSpreadTime: number | false
  /** Resolves when the application has said goodbye itself; its WebSockets are told then. */
  readonly farewell?: Promise<unknown>
  /** Whether a server in front may give these servers connections yet: the drain lasts so long. */
  readonly mayGetMore?: () => boolean
}

/**
 * Part of `drainTimeout` in which connections that stay keep-alive have gone. On a machine that is too busy for that, who comes
 * later is told to close: at the deadline his request would be lost.
 */
const movingPart = 1 / 2

/** Time in which a client answers a WebSocket's close frame, in milliseconds. */
const farewellTime = 1_000

/**
 * Stops accepting, lets requests finish, and gives away or ends what is idle: Go's `http.Server.Shutdown`, with its
 * schedule of sweeps, and more. On the way to an upgrade no idle connection is closed, as its next request may be
 * on its way: it is handed to the next generation, or served once more with `Connection: close`.
 *
 * Resolves when no HTTP connection is left, and WebSockets have been told. Detached ones don't hold it up further, as
 * in Go; but they too are cut at the deadline, so that a `close()` that waits for them ends. Never rejects.
 * @returns what has become of the connections so far
 */
export async function drain(servers: readonly Server[], options: DrainOptions): Promise<() => DrainReport> {
  const { drainTimeout } = options
  const start = performance.now()
  const deadline = start + drainTimeout
  const connections = new Map(servers.map(server => [server, connectionsOf(server)] as const))
  const lists = [...connections.values()]
  const doors = closeDoors(servers)
  const total = lists.reduce((sum, { sockets }) => sum + sockets.size, 0)
  let endReason: DrainReason | undefined
  const reason = () => endReason ?? options.reason()
  const heldUpBy = () => holdUpsOf(servers)
  const stopWatching = watchHoldUps(servers, start, options.requestIdHeader)
  const log = createDrainLog({ log: options.log, reason, total, heldUpBy })
  const [over, timeUp] = [new AbortController(), new AbortController()]
  const timeUpTimer = setTimeout(() => timeUp.abort(), drainTimeout)

  const handover = beginHandover(servers, options, total, over.signal)
  const tally = createTally(lists, () => sweeper.ended())
  const mover = beginMoving(options, reason, tally)
  const cancelStop = afterReading(drainTimeout - Math.min(farewellTime, drainTimeout / 2), stopMover)
  const mayGetMore = () =>
    options.mayGetMore?.() === true || mover?.isMoving() === true || servers.some(expectsConnection)
  const isLate = () => performance.now() >= start + drainTimeout * movingPart
  const shared = { ...options, connections, lists, reason, handover, mover, tally }
  const onEmpty = () => mayGetMore() || over.abort()
  const sweeper = createSweeper({ ...shared, deadline, over: over.signal, onEmpty })
  const goodbye = sayGoodbye({ ...shared, moves: options.handover, isLate, sweeper, timeUp: timeUp.signal })
  if (total > 0) await wholeTurn() // for the requests that have waited for the above
  await untilOver()
  mover?.stop() // a handshake that ends later is told of: nobody would wait for it to move
  await goodbye.toldAll()
  clearTimeout(timeUpTimer)
  cancelStop()
  const gone = Promise.all([...doors.stopped, ...lists.map(emptied)])
  goodbye.keepTelling(gone)
  stopWatching()
  atDeadline(deadline, gone, () => cutRest(lists, tally, onCutRest))
  doors.release()

  const ms = Math.round(performance.now() - start)
  const moves = () => sumMoves(handover?.report, mover?.report)
  const report = () => tally.report(moves())
  endReason = options.reason() // what closes the application afterwards says 'close', which is not why it ends
  if (tally.awaitsAnswers()) void answers(gone).then(() => log.drained(ms, report(), moves()))
  else log.drained(ms, report(), moves())
  return report

  function onCutRest(count: number): void {
    const left = heldUpBy()
    tally.nameCut(left)
    log.cutsDetached(count, left)
  }

  /** Who is in the middle of something yet is told, in time, to come again. */
  function stopMover(): void {
    mover?.stop()
    goodbye.renew()
  }

  /** Sweeps until no HTTP connection is left, and no kept one waits, or the deadline. */
  async function untilOver(): Promise<void> {
    while (!over.signal.aborted) {
      goodbye.renew()
      const counts = await sweeper.sweepAll()
      if (over.signal.aborted) return
      log.began(counts)
      if (held(counts) === 0 && !mayGetMore()) over.abort()
      else if (performance.now() >= deadline) {
        log.timedOut(counts)
        tally.nameCut(heldUpBy().filter(({ kind }) => kind === 'request'))
        mover?.cut()
        goodbye.cutSessions()
        cutHttp(lists, tally)
        over.abort()
      } else {
        log.goesOn(counts)
        await sweeper.pause()
      }
    }
  }
}

/** @returns undefined where nothing moves */
function beginHandover(
  servers: readonly Server[],
  { handover, relay, isUrgent, addressOf, reason, drainTimeout, log }: DrainOptions,
  total: number,
  over: AbortSignal
): Handover | undefined {
  if (handover === false || relay === undefined || reason() !== 'upgrade') return undefined
  // Only where connections may wait for their turn, as their next response does not close them.
  const pace = handover === 'all' && !isUrgent ? { pace: slowStart(total, drainTimeout * movingPart) } : {}
  return prepareHandover(servers, { relay, addressOf, over, ...pace }, log)
}

/** @returns undefined where nothing moves */
function beginMoving(
  { handover, relay, addressOf, log }: DrainOptions,
  reason: () => DrainReason,
  tally: Tally
): Mover | undefined {
  if (handover === false || relay === undefined || reason() !== 'upgrade') return undefined
  return createMover({ relay, addressOf, log, isWanted: () => reason() === 'upgrade', onLeft: tally.left })
}

interface Doors {
  /** Each resolves when the last connection that a server accepted itself has gone. */
  readonly stopped: readonly Promise<void>[]
  /** The servers may be closed now, by whoever wanted to meanwhile. */
  release(): void
}

/** No server accepts any more, nor is closed. */
function closeDoors(servers: readonly Server[]): Doors {
  const holds = servers.map(server => ({ server, isFed: !server.listening, release: holdClose(server) }))
  const stopped = servers.map(stopAccepting)
  return {
    stopped,
    release() {
      for (const { server, isFed, release } of holds) {
        if (isFed)
          void emptied(connectionsOf(server)).then(release) // its own close() knows of none of them
        else release()
      }
    }
  }
}

/** The WebSockets that were told have ended, or take their time. */
async function answers(gone: Promise<unknown>): Promise<void> {
  await Promise.race([gone, sleep(farewellTime, undefined, { ref: false })])
  await wholeTurn() // a server is closed before its last socket
}

/** Resolves when a server has no connection left, whoever accepted them. */
function emptied(connections: Connections): Promise<void> {
  return new Promise(resolve => {
    const look = () => connections.sockets.size === 0 && resolve()
    connections.on('left', look)
    look()
  })
}

/** Not awaited, and not called if all are gone before. */
function atDeadline(deadline: number, gone: Promise<unknown>, call: () => void): void {
  const timer = setTimeout(call, Math.max(deadline - performance.now(), 0))
  void gone.then(() => clearTimeout(timer))
}
