/**
 * For how long a connection may do nothing yet. Node.js counts that by the timer of its socket, which begins anew with
 * every socket; a connection that has moved, or was offered in vain, goes on with the time that it had.
 */
import type { Socket } from 'node:net'
import { timeLeft } from '../internals/socket-timer.js'
import { longestTime } from '../options/kinds.js'
import { afterReading } from '../time/event-loop.js'
import { type Clock, connectionOf, knownConnection } from './connection.js'

/** Ends are rounded up to so many milliseconds: timers of different times have a list each, and few lists are fast ones. */
const timerStep = 100

/** Whether a connection of which nothing has been read here is one between two requests. */
export function wasServed(socket: Socket): boolean {
  const connection = knownConnection(socket)
  return connection !== undefined && (connection.wasServed || connection.clock?.wasServed === true)
}

/** In milliseconds; undefined where there is no such time. */
export function idleTimeLeft(socket: Socket): number | undefined {
  const clock = currentClock(socket)
  if (clock !== undefined) return Math.max(clock.until - performance.now(), 0)
  return timeLeft(socket) ?? (socket.timeout || undefined)
}

/**
 * Calls `end` if nothing is read from a connection for so long, in milliseconds.
 * @param wasServed it is between two requests, though nothing may have been read from it here
 */
export function startClock(socket: Socket, time: number, wasServed: boolean, end: () => void): void {
  const connection = connectionOf(socket)
  connection.clock?.stop()
  if (connection.clock === undefined) socket.once('close', onClose)
  const rounded = Math.ceil(Math.max(time, 1) / timerStep) * timerStep
  const stop = afterReading(Math.min(rounded, longestTime), onEnd, { ref: false })
  const clock: Clock = { until: performance.now() + time, bytesRead: socket.bytesRead, wasServed, end, stop }
  connection.clock = clock

  function onEnd(): void {
    if (currentClock(socket) === clock && !socket.destroyed) end()
  }
}

/**
 * Keeps time from ending a connection; the time itself goes on.
 * @returns takes it back
 */
export function stopClock(socket: Socket): () => void {
  const { timeout } = socket
  const clock = currentClock(socket)
  const left = idleTimeLeft(socket)
  const until = performance.now() + (left ?? 0)
  clock?.stop()
  socket.setTimeout(0)
  return function resume() {
    if (timeout) socket.setTimeout(timeout)
    if (left === undefined || socket.destroyed) return
    const { wasServed = false, end = () => void socket.emit('timeout') } = clock ?? {}
    startClock(socket, Math.max(until - performance.now(), 0), wasServed, end)
  }
}

function currentClock(socket: Socket): Clock | undefined {
  const clock = knownConnection(socket)?.clock
  return clock?.bytesRead === socket.bytesRead ? clock : undefined
}

function onClose(this: Socket): void {
  knownConnection(this)?.clock?.stop()
}
