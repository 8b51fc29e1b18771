import { type Connection, type ConnectionKind, connectionOf, type Note } from '../connections/connection.js'
import type { Connections } from '../connections/connections.js'
import { isHttp2, isMovable } from '../connections/server-kind.js'
import type { ConnectionState } from '../connections/state.js'
import type { HandoverReport } from '../handover/handover.js'
import { hasParser } from '../internals/http1.js'
import { webSocketOf } from '../internals/ws.js'
import type { Fate as KeptFate } from '../kept/give.js'
import type { HoldUp } from './hold-up.js'
import { type DrainReport, type Fate, nameCut, some } from './report.js'

/** Counts what becomes of the connections of a drain. */
export interface Tally {
  /** Counts a connection that was not seen before. */
  see(connection: Connection, state: ConnectionState): void
  /** An HTTP/2 session was told to end. */
  toldSession(): void
  /** So was a WebSocket; it may have been a request when it was seen first. */
  toldWebSocket(connection: Connection): void
  /**
   * A kept connection is on its way to another process.
   * @returns is told what has become of it
   */
  left(connection: Connection): (fate: KeptFate) => void
  /** It is about to be cut, in the middle of something or while nothing is under way. */
  cut(connection: Connection, isIdle: boolean): void
  wasCut(connection: Connection): boolean
  /** These are among those that are cut. */
  nameCut(cut: readonly HoldUp[]): void
  /** Whether a WebSocket was told that has not ended yet. */
  awaitsAnswers(): boolean
  /** As it stands now. */
  report(handover: HandoverReport | undefined): DrainReport
}

interface Count {
  kept: number
  ended: number
  told: number
  cut: number
  cutIdle: number
}

/** @param onEnd a connection has ended */
export function createTally(connections: Iterable<Connections>, onEnd: () => void): Tally {
  const counts = new Map<ConnectionKind, Count>()
  const cut: HoldUp[] = []
  /** Those that were cut on their way: somebody may take them yet. */
  const cutAway: Connection[] = []
  let asked = 0
  for (const list of connections) {
    list.on('ended', socket => {
      end(connectionOf(socket))
      onEnd()
    })
  }
  return {
    see(connection, state) {
      noteOf(connection, state)
    },
    toldSession() {
      countOfKind('http2').told++
    },
    toldWebSocket(connection) {
      const note = noteOf(connection, 'detached')
      countOf(connection).told++
      if (!note.isAsked) asked++
      note.isAsked = true
    },
    left(connection) {
      noteOf(connection, 'active').hasLeft = true
      const count = countOf(connection)
      return fate => {
        if (fate === 'kept') count.kept++
        if (fate === 'lost') count.ended++
        if (fate === 'cut') count.cut++
      }
    },
    cut(connection, isIdle) {
      const note = noteOf(connection, 'detached')
      if (note.isCut) return
      note.isCut = true
      const count = countOf(connection)
      count.cut++
      if (isIdle) count.cutIdle++
      if (connection.phase.name === 'away') cutAway.push(connection)
    },
    wasCut: ({ note }) => note?.tally === counts && note.isCut,
    nameCut: more => void cut.push(...more),
    awaitsAnswers: () => asked > 0,
    report(handover) {
      const { moved = 0, refused = 0, longestPause = 0 } = handover ?? {}
      const fates = [...counts].map(([kind, count]): [ConnectionKind, Fate] => {
        const { ended, told, kept } = count
        const [left, saved] = kind === 'http1' ? [moved, cutAway.filter(hasArrived).length] : [0, 0]
        const finished = ended - (left - saved) // whatever moves ends here, too, if it wasn't cut
        const rare = some({ kept, cutIdle: count.cutIdle - saved })
        return [kind, { moved: left, finished, told, cut: count.cut - saved, ...rare }]
      })
      return { refused, longestPause, kinds: Object.fromEntries(fates), ...nameCut(cut) }
    }
  }

  function end(connection: Connection): void {
    const note = noteOf(connection, 'active') // one that has ended before anybody came to look
    if (note.isAsked) asked--
    note.isAsked = false
    if (!note.isCut && !note.hasLeft) countOf(connection).ended++
  }

  function noteOf(connection: Connection, state: ConnectionState): Note {
    const { note } = connection
    if (note?.tally === counts) return note
    connection.kind = kindOf(connection, state)
    countOf(connection)
    connection.note = { tally: counts, isCut: false, isAsked: false, hasArrived: false, hasLeft: false }
    return connection.note
  }

  /** It may have been a request when it was seen first, and may have become a WebSocket, or CONNECT, since. */
  function countOf(connection: Connection): Count {
    const { kind = 'other', socket, server } = connection
    const isUpgraded = kind === 'http1' && server !== undefined && isMovable(server) && !hasParser(socket)
    if (kind !== 'http2' && webSocketOf(socket) !== undefined) connection.kind = 'webSocket'
    else if (isUpgraded) connection.kind = 'other'
    return countOfKind(connection.kind ?? kind)
  }

  function countOfKind(kind: ConnectionKind): Count {
    let count = counts.get(kind)
    if (count === undefined) {
      count = { kept: 0, ended: 0, told: 0, cut: 0, cutIdle: 0 }
      counts.set(kind, count)
    }
    return count
  }
}

function hasArrived({ note }: Connection): boolean {
  return note?.hasArrived === true
}

function kindOf({ server, socket }: Connection, state: ConnectionState): ConnectionKind {
  if (webSocketOf(socket) !== undefined) return 'webSocket'
  if (state === 'detached') return 'other'
  return server !== undefined && isHttp2(server) && !hasParser(socket) ? 'http2' : 'http1'
}
