import https from 'node:https'
import type { Server } from 'node:net'

// To import it reads each of its exports, and so loads the whole of undici for its WebSocket: a fifth of a start.
const http = process.getBuiltinModule('node:http')

/** Whether a server speaks plain HTTP/1.1: its connections are moved, no others. */
export function isMovable(server: Server): boolean {
  return server instanceof http.Server
}

export function isHttp1Server(server: Server): boolean {
  return server instanceof http.Server || server instanceof https.Server
}

/** Node.js has no name for the classes of its HTTP/2 servers. */
export function isHttp2(server: Server): boolean {
  return 'updateSettings' in server
}
