/**
 * `socket[Symbol(timeout)]`, the timer behind `socket.setTimeout()`. Where it can't be read a connection that moves has
 * its whole time anew.
 */
import type { Socket } from 'node:net'

/**
 * For how long a connection may stay idle yet, in milliseconds, by the timer behind `socket.setTimeout()`.
 * @returns undefined where there is none, or it can't be read
 */
export function timeLeft(socket: Socket): number | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'timeout')
  const timer = symbol && (socket as unknown as Record<symbol, IdleTimer | null | undefined>)[symbol]
  if (timer == null || typeof timer._idleStart !== 'number' || typeof timer._idleTimeout !== 'number')
    return undefined
  const clock = setTimeout(() => {}, 1) as unknown as IdleTimer & NodeJS.Timeout
  clearTimeout(clock)
  if (typeof clock._idleStart !== 'number' || timer._idleTimeout < 0) return undefined
  return Math.max(timer._idleStart + timer._idleTimeout - clock._idleStart, 0)
}

interface IdleTimer {
  readonly _idleStart?: number
  readonly _idleTimeout?: number
}
