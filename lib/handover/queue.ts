import { type Connection, here, type RestState } from '../connections/connection.js'
import { currentResponse } from '../internals/http1.js'
import { isFlushed } from '../internals/socket.js'

/** The connections that wait for their turn. */
export interface Queue {
  /** In one row at most: a connection that is offered twice is read by two. */
  add(connection: Connection, state: RestState, isAnswered: boolean): void
  /** The next one that is at rest still. */
  next(): [Connection, RestState] | undefined
  clear(): void
}

export function createQueue(): Queue {
  const answered = new Set<Connection>()
  const others = new Set<Connection>()
  const rows = [answered, others]
  return {
    add(connection, state, isAnswered) {
      if (isAnswered) others.delete(connection)
      const row = isAnswered || answered.has(connection) ? answered : others
      row.add(connection)
      connection.phase = { name: 'queued', state, bytesRead: connection.socket.bytesRead }
    },
    next() {
      for (const row of rows) {
        for (const connection of row) {
          row.delete(connection)
          const { phase } = connection
          if (phase.name !== 'queued') continue // it has been given away meanwhile, or ended
          if (isStillAtRest(connection)) return [connection, phase.state]
          connection.phase = here
        }
      }
      return undefined
    },
    clear() {
      for (const row of rows) {
        for (const connection of row) if (connection.phase.name === 'queued') connection.phase = here
        row.clear()
      }
    }
  }
}

/** Whether a connection that was at rest when it was queued is so still: not a byte has come or gone since, and no end. */
function isStillAtRest({ phase, socket }: Connection): boolean {
  return (
    phase.name === 'queued' &&
    socket.bytesRead === phase.bytesRead &&
    currentResponse(socket) === undefined &&
    isFlushed(socket) &&
    socket.writable
  )
}
