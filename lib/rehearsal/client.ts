import { pause } from '../time/pause.js'
import type { ClientConnection, Exchange } from './connection.js'
import { failureOf, RequestFailure } from './failure.js'
import type { Plan } from './plan.js'
import type { PlannedRequest } from './requests.js'

/** What is told of each request. */
export interface Witness {
  /** @param began when it was sent, by performance.now() */
  answered(request: PlannedRequest, status: number, began: number): void
  failed(request: PlannedRequest, failure: RequestFailure, began: number): void
}

export type ClientPlan = Pick<Plan, 'pause' | 'requests' | 'latency'>

/** Whoever has failed waits at least so long, in milliseconds: else it would be counted how fast a refusal is. */
const pauseAfterFailure = 10

/** One client at work. */
export interface Client {
  /** Resolves when it has ended, with what was under way. */
  readonly ended: Promise<void>
  /** Since when it waits for an answer, by performance.now(), and for which; undefined if it doesn't. */
  waiting(): { readonly request: PlannedRequest; readonly began: number } | undefined
}

/**
 * It asks, pauses, and asks again, as a browser or a proxy does: it keeps its connection and its cookies, and sends nothing twice.
 * @param signal ends it after the request that is under way
 */
export function startClient(
  connection: ClientConnection,
  { pause: [least, most], requests, latency }: ClientPlan,
  witness: Witness,
  signal: AbortSignal
): Client {
  const choose = chooser(requests)
  const cookies = new Map<string, string>()
  let waiting: ReturnType<Client['waiting']>
  return { ended: run(), waiting: () => waiting }

  async function run(): Promise<void> {
    let shortest = Math.random() * (most - least) // so that they don't all begin at once
    while (await pauses(shortest)) shortest = (await ask(choose())) ? 0 : pauseAfterFailure
    connection.destroy()
  }

  async function pauses(shortest: number): Promise<boolean> {
    const ms = Math.max(least + Math.random() * (most - least), shortest)
    if (ms > 0 && !signal.aborted) await pause(ms, signal)
    return !signal.aborted
  }

  async function ask(request: PlannedRequest): Promise<boolean> {
    const chosen = connection.current()
    if (latency > 0) await pause(latency)
    const began = performance.now()
    waiting = { request, began }
    try {
      // It was on its way, on the connection that was open as far as this client had heard.
      if (chosen !== undefined && connection.current() !== chosen)
        throw new RequestFailure('reset', 'the server closed the connection while the request was on its way')
      const exchange = await connection.ask(request, headersOf(request))
      keep(exchange)
      witness.answered(request, exchange.status, began)
      return true
    } catch (error) {
      witness.failed(request, failureOf(error, false), began)
      return false
    } finally {
      waiting = undefined
    }
  }

  function headersOf({ headers }: PlannedRequest): Readonly<Record<string, string>> {
    if (cookies.size === 0) return headers
    return { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; '), ...headers }
  }

  function keep({ cookies: given }: Exchange): void {
    for (const text of given) {
      const [, name, value] = /^\s*([^=;]+)=([^;]*)/.exec(text) ?? []
      if (name !== undefined && value !== undefined) cookies.set(name, value)
    }
  }
}

/** @returns one of them, by their weights */
function chooser(requests: readonly PlannedRequest[]): () => PlannedRequest {
  const total = requests.reduce((sum, { weight }) => sum + weight, 0)
  return () => {
    let rest = Math.random() * total
    for (const request of requests) {
      rest -= request.weight
      if (rest < 0) return request
    }
    return requests.at(-1) as PlannedRequest
  }
}
