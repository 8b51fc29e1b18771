import { createHash } from 'node:crypto'
import type { Server } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { defaultSessionIdContext, sessionSettings, setSessionIdContext } from '../internals/tls.js'
import { isAddress, type ListenerAddress } from '../listeners/address.js'

/** What makes the session tickets of a TLS listener valid: a secret, for the channel between the processes alone. */
export interface TicketKeys {
  readonly listener: ListenerAddress
  /** `tls.Server#getTicketKeys()`, in base64; null where they are the application's own. */
  readonly keys: string | null
  /** By which the server knows a session for its own. */
  readonly sessionIdContext: string
  /** A digest of what it takes to accept a client's certificate; null if none is asked for. */
  readonly clients: string | null
}

export function isTicketKeys(value: unknown): value is TicketKeys[] {
  return Array.isArray(value) && value.every(isTicketKey)
}

function isTicketKey(value: unknown): value is TicketKeys {
  const { listener, keys, sessionIdContext, clients } = (value ?? {}) as Partial<TicketKeys>
  return (
    isAddress(listener) &&
    (keys === null || (typeof keys === 'string' && Buffer.from(keys, 'base64').length === ticketKeyBytes)) &&
    typeof sessionIdContext === 'string' &&
    Buffer.byteLength(sessionIdContext) <= maxSessionIdContext &&
    (clients === null || typeof clients === 'string')
  )
}

/** What `setTicketKeys()` takes. */
const ticketKeyBytes = 48

/** OpenSSL's SSL_MAX_SID_CTX_LENGTH, in bytes. */
const maxSessionIdContext = 32

/** The part of a `Listener` that matters here. */
interface Listening extends ListenerAddress {
  readonly server: Server
}

/** What makes the session tickets of this process valid, for each TLS server of it. */
export function readTicketKeys(listeners: readonly Listening[]): TicketKeys[] {
  return listeners.flatMap(({ key, bound, server }) => {
    const settings = server instanceof TlsServer ? sessionSettings(server) : undefined
    if (settings === undefined) return []
    const { hasOwnTicketKeys, sessionIdContext, clients } = settings
    const keys = hasOwnTicketKeys ? null : (server as TlsServer).getTicketKeys().toString('base64')
    return [{ listener: { key, bound }, keys, sessionIdContext, clients: digest(clients) }]
  })
}

/**
 * Makes a server take the sessions of the older generation for its own. What the application says itself comes first:
 * ticket keys, a session id context. And a server that would ask for other clients takes none: who resumes isn't
 * asked for a certificate again, and would get in by what it proved to the older one, if anything.
 */
function applyTicketKeys(
  server: Server,
  { keys, sessionIdContext, clients }: Omit<TicketKeys, 'listener'>
): void {
  const settings = server instanceof TlsServer ? sessionSettings(server) : undefined
  if (settings === undefined || digest(settings.clients) !== clients) return
  if (settings.sessionIdContext === defaultSessionIdContext())
    setSessionIdContext(server as TlsServer, sessionIdContext)
  if (keys !== null && !settings.hasOwnTicketKeys)
    (server as TlsServer).setTicketKeys(Buffer.from(keys, 'base64'))
}

/** What a generation got from the one before it, each for the first server that listens in its place. */
export interface TicketInheritance {
  give(ticketKeys: readonly TicketKeys[]): void
  /** To be called for a server before it accepts. */
  claim(listener: Listening): void
}

export function createTicketInheritance(): TicketInheritance {
  let unclaimed: readonly TicketKeys[] = []
  return {
    give(ticketKeys) {
      unclaimed = ticketKeys
    },
    claim({ key, bound, server }) {
      const found =
        unclaimed.find(({ listener }) => listener.key === key) ??
        unclaimed.find(({ listener }) => listener.bound === bound)
      if (found === undefined) return
      unclaimed = unclaimed.filter(each => each !== found)
      applyTicketKeys(server, found)
    }
  }
}

/** Equal for equal settings; it says nothing of what they are. */
function digest(clients: object | null): string | null {
  return clients && createHash('sha256').update(JSON.stringify(clients)).digest('base64')
}
