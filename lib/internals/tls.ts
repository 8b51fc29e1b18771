/**
 * `socket._parent`, the socket below a TLS socket, and what a TLS server keeps of its options. Where the first is missing
 * a connection is found by its other end; without the others no session of an older generation is resumed.
 */
import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Server as TlsServer } from 'node:tls'

/**
 * The socket that a server has accepted, below the TLS socket that is made of it: `_parent`, set by the constructor in
 * lib/internal/tls/wrap.js (Node.js 20: lib/_tls_wrap.js).
 */
export function socketBelow(secure: Socket): Socket | undefined {
  return (secure as { _parent?: Socket | null })._parent ?? undefined
}

/** What decides whose sessions a TLS server takes for its own, besides its ticket keys. */
export interface SessionSettings {
  /** Whether the application has given the ticket keys as an option. */
  readonly hasOwnTicketKeys: boolean
  readonly sessionIdContext: string
  /** What it is to accept a client's certificate; null if it asks for none. */
  readonly clients: object | null
}

/**
 * A TLS server keeps its options as properties: `Server` and `setSecureContext` in lib/internal/tls/wrap.js (Node.js
 * 20: lib/_tls_wrap.js).
 * @returns undefined where they are missing, or name by name others may apply; no session is then resumed
 */
export function sessionSettings(server: TlsServer): SessionSettings | undefined {
  const { ticketKeys, sessionIdContext, requestCert, rejectUnauthorized, ca, crl, pfx, _contexts } =
    server as unknown as TlsServerOptions
  if (typeof sessionIdContext !== 'string' || typeof requestCert !== 'boolean') return undefined
  const hasOwnTicketKeys = ticketKeys !== undefined
  if (!requestCert) return { hasOwnTicketKeys, sessionIdContext, clients: null }
  const symbol = Object.getOwnPropertySymbols(server).find(({ description }) => description === 'snicallback')
  const hasNames =
    symbol === undefined ||
    (server as unknown as Record<symbol, unknown>)[symbol] != null ||
    _contexts?.length !== 0
  if (hasNames) return undefined
  return { hasOwnTicketKeys, sessionIdContext, clients: [rejectUnauthorized, ca, crl, pfx] }
}

interface TlsServerOptions {
  readonly ticketKeys?: unknown
  readonly sessionIdContext?: unknown
  readonly requestCert?: unknown
  readonly rejectUnauthorized?: unknown
  readonly ca?: unknown
  readonly crl?: unknown
  readonly pfx?: unknown
  /** Of `addContext()`. */
  readonly _contexts?: readonly unknown[]
}

/**
 * What `tls.createSecureContext({ sessionIdContext })` does, for a server that has its context already: the public
 * `setSecureContext()` would want all of the application's options again.
 */
export function setSessionIdContext(server: TlsServer, sessionIdContext: string): void {
  const internal = server as unknown as {
    sessionIdContext: string
    _sharedCreds?: { context?: { setSessionIdContext?(value: string): void } }
  }
  const context = internal._sharedCreds?.context
  if (typeof context?.setSessionIdContext !== 'function') return // nobody resumes, then
  context.setSessionIdContext(sessionIdContext)
  internal.sessionIdContext = sessionIdContext
}

/**
 * Which sessions are a server's own if the application doesn't say so: a new version in another directory would take
 * none of the older one's.
 *
 * https://nodejs.org/api/tls.html#tlscreatesecurecontextoptions, `setSecureContext` in lib/internal/tls/wrap.js
 */
export function defaultSessionIdContext(): string {
  return createHash('sha1').update(process.argv.join(' ')).digest('hex').slice(0, 32)
}
