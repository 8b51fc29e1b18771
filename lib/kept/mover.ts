import type { Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from '../connections/connection.js'
import { connectionOf } from '../connections/connection.js'
import { isMovable } from '../connections/server-kind.js'
import type { Way } from '../handover/give.js'
import { connectionsAtRest } from '../internals/idle-list.js'
import type { Log } from '../log.js'
import { createDeferred } from '../time/deferred.js'
import { type Fate, giveKept } from './give.js'
import { type KeptConnection, keptOf } from './kept.js'
import { type Left, leave } from './leave.js'
import { stillToSay } from './swallow.js'

/** Gives kept connections to another process, each as soon as it is in the middle of nothing. */
export interface Mover {
  /** Looks after a connection from now on, if it shall be kept. */
  consider(connection: Connection): void
  /** Whether it goes, be it later. */
  mayMove(socket: Socket): boolean
  /** Whether one is on its way, or waits. */
  isMoving(): boolean
  /** No other one goes. */
  stop(): void
  /** Nobody waits for an answer any more. */
  cut(): void
  readonly report: { readonly refused: number; readonly longestPause: number }
}

export interface MoverOptions extends Way {
  readonly log: Pick<Log, 'warn'>
  /** Whether somebody follows yet. */
  readonly isWanted: () => boolean
  /**
   * Its objects here have ended.
   * @returns is told what has become of it
   */
  onLeft(connection: Connection): (fate: Fate) => void
}

/** How many are on their way at once: handles travel one by one. */
const offerWindow = 2

/** Between two looks at those that were busy, in milliseconds: the first, and the last, as it doubles. */
const [firstPause, lastPause] = [1, 32]

/** The same where nobody is there, in milliseconds: who comes back has its handler run again. */
const [firstAbsence, lastAbsence] = [100, 1_000]

export function createMover({ relay, addressOf, log, isWanted, onLeft }: MoverOptions): Mover {
  const waiting = new Set<KeptConnection>()
  /** Those that have come from an older generation, and whose handler has not run here yet: it may keep them again. */
  const arriving = new Set<Socket>()
  const refused = new WeakSet<Socket>()
  const report = { refused: 0, longestPause: 0 }
  const cut = createDeferred<'cut'>()
  /** Of each server, which connections were between two messages at the last look, and how much had been read of them. */
  const atRest = new Map<Server, ReadonlyMap<Socket, number> | undefined>()
  let state: 'resting' | 'looking' | 'stopped' = 'resting'
  let onTheirWay = 0
  /** One of them has arrived. */
  let arrival = createDeferred()
  let isAnybodyThere = true
  /** Somebody has taken one since the last look began. */
  let hasGone = false

  return {
    consider: ({ socket }) => consider(socket),
    mayMove,
    isMoving: () => waiting.size > 0 || onTheirWay > 0 || [...arriving].some(({ destroyed }) => !destroyed),
    stop,
    cut() {
      stop()
      cut.resolve('cut')
    },
    report
  }

  function consider(socket: Socket): void {
    if (stillToSay(socket) === undefined || isStopped()) arriving.delete(socket)
    else arriving.add(socket) // until it is looked at again
    const kept = keptOf(socket)
    if (kept === undefined || !mayMove(socket)) return
    waiting.add(kept)
    if (state === 'resting') void look()
  }

  function stop(): void {
    state = 'stopped'
    waiting.clear()
    arriving.clear()
  }

  function mayMove(socket: Socket): boolean {
    const kept = keptOf(socket)
    return (
      kept?.phase === 'here' &&
      state !== 'stopped' &&
      isWanted() &&
      !socket.destroyed &&
      !refused.has(socket) &&
      kept.subject.isOpen() &&
      wayOf(socket) !== undefined
    )
  }

  function wayOf(socket: Socket) {
    const { server } = connectionOf(socket)
    const listener = server && isMovable(server) ? addressOf(server) : undefined
    return server && listener && { server, listener }
  }

  async function look(): Promise<void> {
    state = 'looking'
    let pause = firstPause
    while (waiting.size > 0) {
      const before = waiting.size
      isAnybodyThere = true
      hasGone = false
      await lookAtAll()
      if (!isAnybodyThere) pause = hasGone ? firstAbsence : nextAbsence(pause)
      else pause = waiting.size < before ? firstPause : Math.min(pause * 2, lastPause)
      await sleep(pause)
    }
    if (!isStopped()) state = 'resting'
  }

  function nextAbsence(pause: number): number {
    return Math.min(Math.max(pause * 2, firstAbsence), lastAbsence)
  }

  /** It may be so meanwhile. */
  function isStopped(): boolean {
    return state === 'stopped'
  }

  async function lookAtAll(): Promise<void> {
    atRest.clear()
    for (const kept of [...waiting]) {
      while (onTheirWay >= offerWindow) await arrival.promise
      if (!isAnybodyThere || isStopped()) return
      if (mayMove(kept.socket)) giveIfReady(kept)
      else waiting.delete(kept)
    }
  }

  function giveIfReady(kept: KeptConnection): void {
    const { socket } = kept
    const way = wayOf(socket)
    if (way === undefined) return
    const { server, listener } = way
    const isBetween = () => isBetweenMessages(server, socket)
    const left = leave(kept, listener, isBetween, log)
    if (left === undefined) return
    waiting.delete(kept)
    void give(server, left, onLeft(connectionOf(socket)))
  }

  function isBetweenMessages(server: Server, socket: Socket): boolean {
    if (!atRest.has(server)) atRest.set(server, connectionsAtRest(server))
    return atRest.get(server)?.get(socket) === socket.bytesRead
  }

  async function give(server: Server, left: Left, settle: (fate: Fate) => void): Promise<void> {
    onTheirWay++
    const { fate, pause, back } = await giveKept(server, left, relay, cut.promise, log)
    onTheirWay--
    report.longestPause = Math.max(report.longestPause, pause)
    if (fate === 'refused') report.refused++
    if (fate === 'unavailable') isAnybodyThere = false
    if (fate === 'kept') hasGone = true
    settle(fate)
    if (back !== undefined && fate === 'refused') refused.add(back.socket)
    if (back !== undefined) consider(back.socket)
    arrival.resolve()
    arrival = createDeferred()
    await back?.said // nobody else waits for that
    if (back !== undefined) consider(back.socket)
  }
}
