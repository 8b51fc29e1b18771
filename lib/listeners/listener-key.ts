import { type AddressInfo, isIPv6, type Server } from 'node:net'
import path from 'node:path'
import { isSocketFile } from './unix-socket.js'

/** What `listen()` was called with, as far as it matters here. */
export interface ListenOptions {
  port?: number | string | null
  host?: string
  path?: string
  fd?: number
  handle?: unknown
  _handle?: unknown
}

/**
 * The name of what is asked for, by which a next generation asks for it again.
 * @param taken names of what listens already, or is about to
 * @returns undefined for a handle, which nobody can ask for again
 */
export function keyOf(options: ListenOptions, taken: ReadonlySet<string>): string | undefined {
  const { fd, port, host = '', path: file, handle, _handle } = options
  if (handle != null || _handle != null) return undefined
  if (typeof fd === 'number') return `fd:${fd}`
  // Like Node.js: a port that is there, be it undefined, comes before a path.
  if (!('port' in options) && file !== undefined)
    return `unix:${isSocketFile(file) ? path.resolve(file) : file}`
  if (!('port' in options) && Object.keys(options).length > 0) return undefined
  const name = `tcp:${host.toLowerCase()}:${Number(port ?? 0)}`
  const isFree = Number(port ?? 0) === 0
  if (!isFree && !taken.has(name)) return name
  let index = isFree ? 1 : 2 // several on one port: reusePort
  while (taken.has(`${name}#${index}`)) index++
  return `${name}#${index}`
}

/** Whether a name that was asked for would be bound to the very address that a listener has. */
export function leadsTo(key: string, bound: string): boolean {
  if (key === `unix:${bound}`) return true
  const [, host, port] = /^tcp:(.*):([1-9]\d*)(?:#\d+)?$/.exec(key) ?? []
  if (host === undefined) return false
  const hosts =
    host === '' ? ['[::]', '0.0.0.0'] : host === 'localhost' ? ['127.0.0.1', '[::1]'] : [bracketed(host)]
  return hosts.some(candidate => `${candidate}:${port}` === bound)
}

export function boundAddress(server: Pick<Server, 'address'>): string {
  const address = server.address() as AddressInfo | string | null
  if (address === null || typeof address === 'string') return address ?? 'nowhere'
  return `${bracketed(address.address)}:${address.port}`
}

function bracketed(host: string): string {
  return isIPv6(host) ? `[${host}]` : host
}
