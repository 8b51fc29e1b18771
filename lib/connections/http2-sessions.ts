import type { ServerHttp2Session } from 'node:http2'
import type { Server } from 'node:net'
import { isHttp2 } from './server-kind.js'

/** The sessions of a server; whether the client's settings have come: then our own are out, which must be the first frame. */
type Sessions = ReadonlyMap<ServerHttp2Session, boolean>

const known = new WeakMap<Server, Sessions>()

/** The open sessions of a server that is followed; undefined of any other. */
export function sessionsOf(server: Server): Sessions | undefined {
  return known.get(server)
}

/** Follows the sessions of an HTTP/2 server from now on; of any other there are none. */
export function followSessions(server: Server): void {
  if (!isHttp2(server) || known.has(server)) return
  const sessions = new Map<ServerHttp2Session, boolean>()
  known.set(server, sessions)
  server.on('session', (session: ServerHttp2Session) => {
    sessions.set(session, false)
    session.once('remoteSettings', () => sessions.set(session, true))
    session.once('close', () => sessions.delete(session))
  })
}
