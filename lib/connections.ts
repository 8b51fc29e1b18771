import { EventEmitter } from 'node:events'
import https from 'node:https'
import type { Server, Socket } from 'node:net'
import tls from 'node:tls'
import { isLingering } from './lingering-close.js'
import {
  connectionsAtRest,
  currentResponse,
  hasParser,
  isFlushed,
  socketBelow,
  timeLeft
} from './node-internals.js'
import { webSocketOf } from './web-socket.js'

// To import it reads each of its exports, and so loads the whole of undici for its WebSocket: a fifth of a start.
const http = process.getBuiltinModule('node:http')

/**
 * What an accepted connection is doing: *fresh*, no byte has been read from it; *idle*, between two requests;
 * *active*, a request is being received or answered; *detached*, no longer HTTP/1.1 (WebSocket, CONNECT) or
 * never (a server of the application's own protocol).
 */
export type ConnectionState = 'fresh' | 'idle' | 'active' | 'detached'

/** How many connections are in each state. */
export type ConnectionCounts = Record<ConnectionState, number>

/** The open connections of one server. `server.getConnections()` knows only those that it accepted itself. */
export interface Connections extends EventEmitter<{ ended: [Socket] }> {
  readonly sockets: ReadonlySet<Socket>
  /**
   * What these of its connections, or all, are doing: each at the moment in which it is given out, so that whoever
   * goes through them may pause. One that has come to rest meanwhile counts as active.
   */
  states(some?: Iterable<Socket>): Iterable<readonly [Socket, ConnectionState]>
}

const known = new WeakMap<Server, Connections>()
/** Adopted connections that were idle, and haven't been read from here: until when they may stay so. */
const adoptedIdle = new WeakMap<Socket, number>()

/** Says of an adopted connection that it was served before, and is idle until then (`performance.now()`). */
export function setIdleUntil(socket: Socket, time: number): void {
  adoptedIdle.set(socket, time)
}

/** For how long an idle connection may stay so, in milliseconds; undefined where it has no such time. */
export function idleTimeLeft(socket: Socket): number | undefined {
  const until = socket.bytesRead === 0 ? adoptedIdle.get(socket) : undefined
  return until === undefined ? timeLeft(socket) : Math.max(until - performance.now(), 0)
}

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
  const events = new EventEmitter<{ ended: [Socket] }>()
  const sockets = new Set<Socket>()
  const isTls = server instanceof tls.Server
  const isHttp1 = server instanceof http.Server || server instanceof https.Server
  const isHttp = isHttp1 || isHttp2(server)

  server.on('connection', add)
  if (isTls) server.on('secureConnection', onSecure)

  return Object.assign(events, {
    sockets,
    *states(some: Iterable<Socket> = sockets) {
      const atRest = isHttp && sockets.size > 0 ? connectionsAtRest(server) : undefined
      for (const socket of some) {
        if (sockets.has(socket)) yield [socket, stateNow(socket, atRest)] as const
      }
    }
  })

  function stateNow(socket: Socket, atRest: ReadonlyMap<Socket, number> | undefined): ConnectionState {
    if (isLingering(socket)) return 'active'
    if (!isHttp) return 'detached'
    if (isTls && !('encrypted' in socket)) return 'fresh' // in its handshake
    if (!isHttp1 && !hasParser(socket)) return 'active' // an HTTP/2 session
    return stateOf(socket, atRest)
  }

  function add(socket: Socket): void {
    sockets.add(socket)
    socket.on('close', forget)
  }

  /** The connection is the TLS socket now. */
  function onSecure(secure: Socket): void {
    const below = socketBelow(secure) ?? [...sockets].find(socket => isBelow(socket, secure))
    if (below !== undefined) sockets.delete(below)
    add(secure)
  }

  function forget(this: Socket): void {
    if (sockets.delete(this)) events.emit('ended', this)
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

/** Whether a server speaks plain HTTP/1.1: its connections are moved, no others. */
export function isMovable(server: Server): boolean {
  return server instanceof http.Server
}

/** Node.js has no name for the classes of its HTTP/2 servers. */
export function isHttp2(server: Server): boolean {
  return 'updateSettings' in server
}

function stateOf(socket: Socket, atRest: ReadonlyMap<Socket, number> | undefined): ConnectionState {
  if (!hasParser(socket)) return socket.destroyed || isShakingHands(socket) ? 'active' : 'detached'
  if (currentResponse(socket) !== undefined) return 'active'
  if (socket.bytesRead === 0) return adoptedIdle.has(socket) ? 'idle' : 'fresh'
  return atRest?.get(socket) === socket.bytesRead && isFlushed(socket) ? 'idle' : 'active'
}

/** Sums up the connections of several servers. */
export function countConnections(servers: Iterable<Connections>): ConnectionCounts {
  const counts: ConnectionCounts = { fresh: 0, idle: 0, active: 0, detached: 0 }
  for (const connections of servers) {
    for (const [, state] of connections.states()) counts[state]++
  }
  return counts
}

/**
 * @fastify/websocket makes a response for a request to upgrade, and leaves it on the socket; until there is a
 * WebSocket, hooks and handlers of the request are running.
 */
function isShakingHands(socket: Socket): boolean {
  return currentResponse(socket) !== undefined && webSocketOf(socket) === undefined
}
