import type { Socket } from 'node:net'
import { type Connection, connectionOf } from '../connections/connection.js'
import type { Connections } from '../connections/connections.js'
import { cut } from '../connections/ending.js'
import type { Tally } from './tally.js'

/** At the deadline: ends all that speak HTTP. */
export function cutHttp(lists: readonly Connections[], tally: Tally): void {
  for (const list of lists) {
    for (const [socket, state] of list.states()) {
      if (state === 'detached') continue
      const connection = connectionOf(socket)
      tally.cut(connection, state === 'idle' || state === 'fresh')
      if (connection.phase.name === 'away') socket.destroy()
      else cut(socket)
    }
  }
}

/**
 * At the deadline, also of a drain that is over: ends whatever is left, detached ones most of all.
 * @param onCut is told before how many they are, if there are any
 */
export function cutRest(lists: readonly Connections[], tally: Tally, onCut: (count: number) => void): void {
  const left: Connection[] = lists
    .flatMap(({ sockets }): Socket[] => [...sockets])
    .map(connectionOf)
    .filter(connection => !tally.wasCut(connection))
  if (left.length > 0) onCut(left.length)
  for (const connection of left) {
    tally.cut(connection, false)
    cut(connection.socket)
  }
}
