import type { NetConnectOpts } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { Client, type Failure, RequestError } from './http-client.ts'

export interface LoadOptions {
  readonly clients: number
  /** POSTs per client; the load begins anew until `done` is aborted. */
  readonly requests?: number
  readonly done: AbortSignal
  /** Pause before each request, in milliseconds: between these two, drawn evenly. */
  readonly pause?: readonly [number, number]
  /** A connection for each request. */
  readonly fresh?: boolean
  /** Client `who` has had an answer. */
  readonly onAnswer?: (generation: number, who: string) => void
}

export interface LoadResult {
  requests: number
  /** TCP connections in the whole run. */
  opened: number
  failures: Partial<Record<Failure, number>>
  /** Answers by the generation that gave them. */
  generations: Record<number, number>
}

/** The experiment's clients: each has a connection of its own, and none ever retries. */
export async function load(address: NetConnectOpts, options: LoadOptions): Promise<LoadResult> {
  const result: LoadResult = { requests: 0, opened: 0, failures: {}, generations: {} }
  await Promise.all(Array.from({ length: options.clients }, (_, index) => run(index)))
  return result

  async function run(index: number): Promise<void> {
    const client = new Client(address)
    const [least, most] = options.pause ?? [0, 0]
    while (!options.done.aborted) {
      for (let request = 0; request < (options.requests ?? 1_000) && !options.done.aborted; request++) {
        if (most > 0) await sleep(least + Math.random() * (most - least))
        result.requests++
        try {
          const body = `client=${index}&n=${request}`
          const answer = await client.post('/', body, options.fresh ? { Connection: 'close' } : {})
          const { generation, body: echoed } = JSON.parse(answer.body.toString())
          if (echoed !== body) throw new RequestError('other', `sent ${body}, got ${echoed}`)
          result.generations[generation] = (result.generations[generation] ?? 0) + 1
          options.onAnswer?.(generation, `client ${index}`)
        } catch (error) {
          const failure = error instanceof RequestError ? error.failure : 'other'
          result.failures[failure] = (result.failures[failure] ?? 0) + 1
          client.close()
        }
      }
    }
    client.close()
    result.opened += client.opened
  }
}

/** Load that ends when the test says so, and with the test at the latest: a test that has failed must not go on. */
export function startLoad(t: Test, address: NetConnectOpts, options: Omit<LoadOptions, 'done'>) {
  const controller = new AbortController()
  let newest = 0
  let waiting: { readonly generation: number; readonly resolve: () => void }[] = []
  const onAnswer = (generation: number, who: string) => {
    options.onAnswer?.(generation, who)
    if (generation <= newest) return
    newest = generation
    for (const { generation, resolve } of waiting) if (generation <= newest) resolve()
    waiting = waiting.filter(({ generation }) => generation > newest)
  }
  const running = load(address, { ...options, onAnswer, done: controller.signal })
  t.teardown(() => controller.abort())
  return { stop, answered }

  /** Resolves when this generation, or a later one, has answered one of these clients. */
  async function answered(generation: number): Promise<void> {
    if (generation > newest) await new Promise<void>(resolve => waiting.push({ generation, resolve }))
  }

  function stop(): Promise<LoadResult> {
    controller.abort()
    return running
  }
}
