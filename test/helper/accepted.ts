import { once } from 'node:events'
import http, { type RequestListener } from 'node:http'
import net, { type AddressInfo, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'
import { type Connections, connectionsOf } from '../../lib/connections/connections.js'

/** Both ends of one connection, in one process. */
export interface Accepted {
  readonly client: Socket
  /** The server's end. */
  readonly socket: Socket
  /** Resolves with the next thing that the server says. */
  said(): Promise<string>
  get(route?: string): Promise<string>
}

/** A server that listens, and all of its connections. */
export interface Followed<Kind extends Server = Server> {
  readonly server: Kind
  readonly list: Connections
  connect(): Promise<Accepted>
}

/** @param path of a Unix socket; otherwise a free port */
export async function follow<Kind extends Server>(
  t: Test,
  server: Kind,
  path?: string
): Promise<Followed<Kind>> {
  const list = connectionsOf(server)
  const host = '127.0.0.1'
  await once(server.listen(path === undefined ? { port: 0, host } : { path }), 'listening')
  const address = path === undefined ? { port: (server.address() as AddressInfo).port, host } : { path }
  const clients: Socket[] = []
  t.teardown(() => {
    for (const client of clients) client.destroy()
    for (const socket of list.sockets) socket.destroy()
    server.close()
  })
  return {
    server,
    list,
    async connect() {
      const accepted = once(server, 'connection')
      const client = net.connect(address)
      client.on('error', () => {})
      clients.push(client)
      const [[socket]] = await Promise.all([accepted, once(client, 'connect')])
      const said = async () => String((await once(client, 'data'))[0])
      return {
        client,
        socket,
        said,
        get(route = '/') {
          client.write(request(route))
          return said()
        }
      }
    }
  }
}

/** A server that answers at once, but not on the way that is called /later. */
export function followHttp(t: Test, listener: RequestListener = answer): Promise<Followed<http.Server>> {
  return follow(t, http.createServer(listener))
}

const answer: RequestListener = (request, response) => {
  if (request.url !== '/later') response.end('hello')
}

export function request(route = '/'): string {
  return `GET ${route} HTTP/1.1\r\nHost: test\r\n\r\n`
}

/** Waits for what the event loop brings, and never for a time of its own. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate)
}
