import type { Server, Socket } from 'node:net'
import { type ConnectionState, type Connections, isHttp2 } from './connections.js'
import type { ConnectionKind, DrainReport, Fate } from './drain-report.js'
import type { HandoverReport } from './handover.js'
import { hasParser } from './node-internals.js'
import { webSocketOf } from './web-socket.js'

/** Counts what becomes of the connections of a drain. */
export interface Tally {
  /** Counts a connection that was not seen before. */
  see(server: Server, socket: Socket, state: ConnectionState): void
  /** It was told to end; a WebSocket may have been a request when it was seen first. */
  told(kind: 'webSocket', socket: Socket): void
  told(kind: 'http2'): void
  /** It is about to be cut. */
  cut(socket: Socket): void
  /** As it stands now. */
  report(handover: HandoverReport | undefined): DrainReport
}

interface Count {
  ended: number
  told: number
  cut: number
}

/** @param onEnd a connection has ended */
export function createTally(connections: ReadonlyMap<Server, Connections>, onEnd: () => void): Tally {
  const kinds = new WeakMap<Socket, ConnectionKind>()
  const cut = new WeakSet<Socket>()
  const counts = new Map<ConnectionKind, Count>()
  for (const [server, list] of connections) {
    list.on('ended', socket => {
      see(server, socket, 'active') // one that has ended before anybody came to look
      if (!cut.has(socket)) countOf(kinds.get(socket) ?? 'other').ended++
      onEnd()
    })
  }
  return {
    see,
    told(kind: 'webSocket' | 'http2', socket?: Socket) {
      countOf(kind).told++
      if (socket !== undefined) kinds.set(socket, kind)
    },
    cut(socket) {
      if (cut.has(socket)) return
      cut.add(socket)
      countOf(kinds.get(socket) ?? 'other').cut++
    },
    report(handover) {
      const { moved = 0, refused = 0, longestPause = 0 } = handover ?? {}
      const fates = [...counts].map(([kind, { ended, told, cut }]): [ConnectionKind, Fate] => {
        const left = kind === 'http1' ? moved : 0 // whatever moves ends here, too
        return [kind, { moved: left, finished: ended - left, told, cut }]
      })
      return { refused, longestPause, kinds: Object.fromEntries(fates) }
    }
  }

  function see(server: Server, socket: Socket, state: ConnectionState): void {
    if (kinds.has(socket)) return
    const kind = kindOf(server, socket, state)
    kinds.set(socket, kind)
    countOf(kind)
  }

  function countOf(kind: ConnectionKind): Count {
    let count = counts.get(kind)
    if (count === undefined) {
      count = { ended: 0, told: 0, cut: 0 }
      counts.set(kind, count)
    }
    return count
  }
}

function kindOf(server: Server, socket: Socket, state: ConnectionState): ConnectionKind {
  if (webSocketOf(socket) !== undefined) return 'webSocket'
  if (state === 'detached') return 'other'
  return isHttp2(server) && !hasParser(socket) ? 'http2' : 'http1'
}
