import type { PlannedRequest } from './requests.js'

/** What has come back, whole. */
export interface Exchange {
  readonly status: number
  /** Values of Set-Cookie. */
  readonly cookies: readonly string[]
}

/** The one connection of a client, which comes again by itself where it is needed; nothing is ever sent twice. */
export interface ClientConnection {
  /** Names the connection that is open, as far as this client has heard; undefined for none. */
  current(): object | undefined
  /** @throws RequestFailure */
  ask(request: PlannedRequest, headers: Readonly<Record<string, string>>): Promise<Exchange>
  /** At once: what is under way fails. */
  destroy(): void
}

export interface ConnectionOptions {
  /** How long an answer is waited for, in milliseconds. */
  readonly timeout: number
  /** A connection for each request. */
  readonly isFresh: boolean
  /** Beyond the first, unless the client itself had ended the one before. */
  readonly onReconnect: () => void
}
