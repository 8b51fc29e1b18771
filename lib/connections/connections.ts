import { EventEmitter } from 'node:events'
import type { Server, Socket } from 'node:net'
import tls from 'node:tls'
import { hasParser } from '../internals/http1.js'
import { connectionsAtRest, trackConnections } from '../internals/idle-list.js'
import { socketBelow } from '../internals/tls.js'
import { webSocketOf } from '../internals/ws.js'
import { type Connection, connectionOf, type Owner, ownerOf, setOwner } from './connection.js'
import { isLingering } from './ending.js'
import { isHttp1Server, isHttp2 } from './server-kind.js'
import { type ConnectionCounts, type ConnectionState, stateOf } from './state.js'

/**
 * The open connections of one server, whoever accepted them: a server in front may, and give them to this one by
 * emitting 'connection' on it. Each is in the list of the server that it was given to last.
 */
export interface Connections extends EventEmitter<ConnectionEvents> {
  readonly sockets: ReadonlySet<Socket>
  /**
   * Whether it is a server in front: what it has not given on may yet become a request, or be one already of an HTTP
   * server that we don't know. It is one from the first connection on that it gives to a server that we follow.
   */
  isFront: boolean
  /**
   * What these of its connections, or all, are doing: each at the moment in which it is given out, so that whoever
   * goes through them may pause. One that has come to rest meanwhile counts as active.
   */
  states(some?: Iterable<Socket>): Iterable<readonly [Socket, ConnectionState]>
}

interface ConnectionEvents {
  ended: [Socket]
  /** The same, or another server has got it. */
  left: []
}

const known = new WeakMap<Server, Connections>()

/** Follows a server's connections from now on; before it accepts, that is all of them. */
export function connectionsOf(server: Server): Connections {
  let connections = known.get(server)
  if (connections === undefined) {
    connections = follow(server)
    known.set(server, connections)
  }
  return connections
}

function follow(server: Server): Connections {
  const events = new EventEmitter<ConnectionEvents>()
  const sockets = new Set<Socket>()
  const isTls = server instanceof tls.Server
  const isHttp1 = isHttp1Server(server)
  const isHttp = isHttp1 || isHttp2(server)
  const owner: Owner = { server, giveOn }
  let isTracked = !isHttp1

  // Before the application's listener, which may give the connection on in the same call.
  server.prependListener('connection', add)
  if (isTls) server.prependListener('secureConnection', onSecure)

  const connections: Connections = Object.assign(events, {
    sockets,
    isFront: false,
    *states(some: Iterable<Socket> = sockets) {
      const atRest = isHttp && sockets.size > 0 ? connectionsAtRest(server) : undefined
      for (const socket of some) {
        if (sockets.has(socket)) yield [socket, stateNow(socket, atRest)] as const
      }
    }
  })
  return connections

  function stateNow(socket: Socket, atRest: ReadonlyMap<Socket, number> | undefined): ConnectionState {
    if (isLingering(socket)) return 'active'
    if (!isHttp) return stateInFront(socket)
    if (isTls && !('encrypted' in socket)) return 'fresh' // in its handshake
    if (!isHttp1 && !hasParser(socket)) return 'active' // an HTTP/2 session
    return stateOf(socket, atRest)
  }

  /** Fresh is what the application has not looked at yet. Of what it has read nothing is known: it may be a request. */
  function stateInFront(socket: Socket): ConnectionState {
    if (hasParser(socket)) return stateOf(socket, undefined)
    if (!connections.isFront || webSocketOf(socket) !== undefined) return 'detached'
    return socket.bytesRead === 0 ? 'fresh' : 'active'
  }

  function add(socket: Socket): void {
    if (!isTracked && !server.listening) trackConnections(server)
    isTracked = true // or it listens, and Node.js does it
    for (let each: Socket | undefined = socket; each !== undefined; each = socketBelow(each)) {
      if (!sockets.delete(each)) ownerOf(each)?.giveOn(each)
    }
    sockets.add(socket)
    setOwner(socket, owner)
    socket.on('close', forget)
  }

  function giveOn(socket: Socket): void {
    if (!sockets.delete(socket)) return
    connections.isFront = true
    events.emit('left')
  }

  /** The connection is the TLS socket now. */
  function onSecure(secure: Socket): void {
    const below = socketBelow(secure) ?? [...sockets].find(socket => isBelow(socket, secure))
    if (below !== undefined) sockets.delete(below)
    add(secure)
  }

  function forget(this: Socket): void {
    if (!sockets.delete(this)) return
    events.emit('ended', this)
    events.emit('left')
  }
}

/** What some connections are doing, be they of several servers: see `states()`. Those that have ended are left out. */
export function* statesOf(
  some: Iterable<Connection>
): Iterable<readonly [connection: Connection, state: ConnectionState]> {
  const byServer = new Map<Server, Socket[]>()
  for (const { server, socket } of some) {
    if (server === undefined) continue
    const sockets = byServer.get(server)
    if (sockets === undefined) byServer.set(server, [socket])
    else sockets.push(socket)
  }
  for (const [server, sockets] of byServer) {
    for (const [socket, state] of connectionsOf(server).states(sockets)) yield [connectionOf(socket), state]
  }
}

/** By their other end, which over a Unix socket has no name. */
function isBelow(socket: Socket, secure: Socket): boolean {
  return (
    !('encrypted' in socket) &&
    secure.remotePort !== undefined &&
    socket.remotePort === secure.remotePort &&
    socket.remoteAddress === secure.remoteAddress
  )
}

/** Says of a server that it feeds another one, or answers HTTP by servers that we don't know. An HTTP server is none. */
export function markAsFront(server: Server): void {
  if (!isHttp1Server(server) && !isHttp2(server)) connectionsOf(server).isFront = true
}

/** Sums up the connections of several servers. */
export function countConnections(servers: Iterable<Connections>): ConnectionCounts {
  const counts: ConnectionCounts = { fresh: 0, idle: 0, active: 0, detached: 0 }
  for (const connections of servers) {
    for (const [, state] of connections.states()) counts[state]++
  }
  return counts
}
