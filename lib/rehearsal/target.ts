import http from 'node:http'
import http2 from 'node:http2'
import { isIPv6 } from 'node:net'
import tls from 'node:tls'
import { GracefulUpgradeError } from '../errors.js'
import { createDeferred } from '../time/deferred.js'
import type { Serving } from './server.js'

/** Where the application listens, and what it speaks there. */
export interface Target {
  /** `http://127.0.0.1:3000`; for a Unix socket `http://localhost`. */
  readonly origin: string
  /** Of a Unix socket. */
  readonly path?: string
  readonly protocol: 'http/1.1' | 'h2'
  /** `127.0.0.1:3000`, or the path. */
  readonly bound: string
}

/** How long each of the protocols is tried, in milliseconds. */
const probeTimeout = 5_000

/** The certificate of a server on one's own machine is seldom for it. */
export function connectOptions({ path }: Pick<Target, 'path'>) {
  return { rejectUnauthorized: false, ...(path !== undefined && { path }) }
}

/**
 * The first listener at which HTTP is spoken.
 * @param path of a request that may be sent
 * @throws GRACEFUL_UPGRADE_REHEARSAL if there is none
 */
export async function findTarget(listeners: Serving['listeners'], path: string): Promise<Target> {
  for (const { bound } of listeners) {
    const place = placeOf(bound)
    const found = await protocolAt(place, path)
    if (found === undefined) continue
    const { scheme, protocol } = found
    const origin = `${scheme}://${place.path === undefined ? `${bracketed(place.host)}:${place.port}` : 'localhost'}`
    return { origin, protocol, bound, ...(place.path !== undefined && { path: place.path }) }
  }
  const places = listeners.map(({ bound }) => bound).join(', ') || 'nowhere'
  throw new GracefulUpgradeError(
    'GRACEFUL_UPGRADE_REHEARSAL',
    `nobody speaks HTTP where the application listens: ${places}`
  )
}

/** `HTTP/1.1 over TLS on 127.0.0.1:3000` */
export function describeTarget({ origin, path, protocol, bound }: Target): string {
  const what = protocol === 'h2' ? 'HTTP/2' : 'HTTP/1.1'
  return `${what}${origin.startsWith('https') ? ' over TLS' : ''} on ${path ?? bound}`
}

interface Place {
  readonly host: string
  readonly port: number
  readonly path?: string
}

/** One connects to this machine where a server listens on all addresses. */
export function placeOf(bound: string): Place {
  const [, inBrackets, plain, port] = /^(?:\[(.+)\]|([^:/]+)):(\d+)$/.exec(bound) ?? []
  if (port === undefined) return { host: 'localhost', port: 0, path: bound }
  const host = inBrackets ?? plain ?? ''
  return { host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host, port: Number(port) }
}

type Found = { readonly scheme: 'http' | 'https'; readonly protocol: Target['protocol'] }

async function protocolAt(place: Place, path: string): Promise<Found | undefined> {
  if (await speaksHttp1(place, path)) return { scheme: 'http', protocol: 'http/1.1' }
  const alpn = await alpnOf(place)
  if (alpn !== undefined) return { scheme: 'https', protocol: alpn === 'h2' ? 'h2' : 'http/1.1' }
  return (await speaksHttp2(place)) ? { scheme: 'http', protocol: 'h2' } : undefined
}

/** A server that takes its time speaks it: others end a connection on which it is spoken. */
function speaksHttp1({ host, port, path: socketPath }: Place, path: string): Promise<boolean> {
  const { promise, resolve } = createDeferred<boolean>()
  const place = socketPath === undefined ? { host, port } : { socketPath }
  const request = http.get({ ...place, path, agent: false, timeout: probeTimeout })
  request.on('response', response => {
    resolve(true)
    response.resume()
  })
  request.on('timeout', () => resolve(true))
  request.on('error', () => resolve(false))
  return promise.finally(() => request.destroy())
}

/** @returns false for none; undefined if it speaks no TLS */
function alpnOf(place: Place): Promise<string | false | undefined> {
  const { promise, resolve } = createDeferred<string | false | undefined>()
  const { host, port } = place
  const options = { host, port, ...connectOptions(place), ALPNProtocols: ['http/1.1', 'h2'] }
  const socket = tls.connect(options, () => resolve(socket.alpnProtocol ?? false))
  socket.setTimeout(probeTimeout, () => resolve(undefined))
  socket.on('error', () => resolve(undefined))
  socket.on('close', () => resolve(undefined))
  return promise.finally(() => socket.destroy())
}

function speaksHttp2(place: Place): Promise<boolean> {
  const { promise, resolve } = createDeferred<boolean>()
  const session = http2.connect(`http://${bracketed(place.host)}:${place.port}`, connectOptions(place))
  session.setTimeout(probeTimeout, () => resolve(false))
  session.on('remoteSettings', () => resolve(true))
  session.on('error', () => resolve(false))
  session.on('close', () => resolve(false))
  return promise.finally(() => session.destroy())
}

function bracketed(host: string): string {
  return isIPv6(host) ? `[${host}]` : host
}
