import { setMaxListeners } from 'node:events'
import { GracefulUpgradeError } from '../errors.js'
import { pause } from '../time/pause.js'
import { type Client, startClient } from './client.js'
import type { ClientConnection, ConnectionOptions } from './connection.js'
import { keepEventStreams } from './event-streams.js'
import { RequestFailure } from './failure.js'
import { createHttp1 } from './http1.js'
import { createHttp2 } from './http2.js'
import type { Plan } from './plan.js'
import type { PlannedRequest } from './requests.js'
import { createStay, type Stay } from './stay.js'
import type { Tally } from './tally.js'
import type { Target } from './target.js'
import type { Undici } from './undici.js'
import { keepWebSockets } from './web-sockets.js'

/** All clients at work. */
export interface Load {
  readonly stays: readonly Stay[]
  /** Lets the requests that are under way end, as long as each of them may take. */
  stop(): Promise<void>
  /** Ends all of it at once. */
  destroy(): void
}

/** How long the first answer is waited for, in milliseconds. */
const tryTime = 2_000

/** What is left in the end has had its time: some more, so that it counts as late by its own clock, in milliseconds. */
const grace = 2_000

export function startLoad(undici: Undici, target: Target, plan: Plan, tally: Tally): Load {
  const ending = new AbortController()
  const { signal } = ending
  setMaxListeners(0, signal) // each client has one, and may be one of thousands
  const connections: ClientConnection[] = []
  const clients: Client[] = []
  for (let index = 0; index < plan.clients; index++) start(false, () => tally.reconnect(index))
  for (let index = 0; index < plan.fresh; index++) start(true, () => {})
  const stays: Stay[] = []
  const staying = [
    ...plan.webSockets.map(path => stay(keepWebSockets, 'WebSocket', path)),
    ...plan.events.map(path => stay(keepEventStreams, 'events', path))
  ]
  return { stays, stop, destroy }

  function start(isFresh: boolean, onReconnect: () => void): void {
    const connection = connect(undici, target, { timeout: plan.timeout, isFresh, onReconnect })
    connections.push(connection)
    const { answered, failed } = tally
    const witness = { answered, failed: (...[{ name }, ...rest]: Failed) => failed(name, ...rest) }
    clients.push(startClient(connection, plan, witness, signal))
  }

  function stay(
    keep: typeof keepWebSockets | typeof keepEventStreams,
    what: string,
    path: string
  ): Promise<void> {
    const own = createStay(`${what} ${path}`)
    stays.push(own)
    return keep(undici, target, path, own, tally, signal)
  }

  async function stop(): Promise<void> {
    ending.abort()
    const all = Promise.all([...clients.map(({ ended }) => ended), ...staying])
    const timer = new AbortController()
    await Promise.race([all, pause(plan.timeout + grace, timer.signal)])
    timer.abort()
    destroy()
    await all
  }

  function destroy(): void {
    ending.abort()
    for (const connection of connections) connection.destroy()
  }
}

type Failed = Parameters<Parameters<typeof startClient>[2]['failed']>

function connect(undici: Undici, target: Target, options: ConnectionOptions): ClientConnection {
  return target.protocol === 'h2' ? createHttp2(target, options) : createHttp1(undici, target, options)
}

/**
 * Sends each request once, before anything is measured. One that takes its time may be meant to.
 * @throws GRACEFUL_UPGRADE_REHEARSAL where one fails already
 */
export async function tryRequests(undici: Undici, target: Target, plan: Plan): Promise<void> {
  const requests = plan.clients + plan.fresh > 0 ? plan.requests : []
  await Promise.all(requests.map(request => tryRequest(undici, target, request)))
}

async function tryRequest(undici: Undici, target: Target, request: PlannedRequest): Promise<void> {
  const options = { timeout: tryTime, isFresh: false, onReconnect: () => {} }
  const connection = connect(undici, target, options)
  try {
    const { status } = await connection.ask(request, request.headers)
    if (request.expect === undefined && status >= 500)
      throw new Error(
        `it is answered with ${status}: start what it needs, or name other requests by --request`
      )
  } catch (error) {
    if (error instanceof RequestFailure && error.kind === 'timeout') return
    const detail = `${request.name} fails before any upgrade: ${(error as Error).message}`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_REHEARSAL', detail)
  } finally {
    connection.destroy()
  }
}
