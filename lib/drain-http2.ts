import type { ServerHttp2Session } from 'node:http2'
import type { Server } from 'node:net'
import { isHttp2 } from './connections.js'

const sessionsOf = new WeakMap<Server, Set<ServerHttp2Session>>()

/** Follows the sessions of an HTTP/2 server from now on; of any other there are none. */
export function followSessions(server: Server): void {
  if (!isHttp2(server) || sessionsOf.has(server)) return
  const sessions = new Set<ServerHttp2Session>()
  sessionsOf.set(server, sessions)
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
}

/** GOAWAY: streams that are open finish, no new one is begun, and the session ends with the last one. */
export function endSessions(server: Server): void {
  for (const session of sessionsOf.get(server) ?? []) session.close()
}
