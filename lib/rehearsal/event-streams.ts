import { failureOf, RequestFailure } from './failure.js'
import { pause, pauseBeforeReturn, type Stay, type StayWitness } from './stay.js'
import { connectOptions, type Target } from './target.js'
import type { Undici } from './undici.js'

/**
 * Keeps event streams open; one that has ended comes again with the last id that it has seen, as a browser does.
 * Where ids are whole numbers, one after the other, it is known which of them never came.
 * @param signal closes them
 */
export async function keepEventStreams(
  { Client }: Pick<Undici, 'Client'>,
  target: Target,
  path: string,
  stay: Stay,
  witness: StayWitness,
  signal: AbortSignal
): Promise<void> {
  await Promise.all(Array.from({ length: stay.clients }, keepOne))

  async function keepOne(): Promise<void> {
    const client = new Client(target.origin, { connect: connectOptions(target), bodyTimeout: 0 })
    let last: string | undefined
    let retry = pauseBeforeReturn
    while (!signal.aborted) {
      await once()
      await pause(signal, retry)
    }
    await client.destroy()

    async function once(): Promise<void> {
      const began = performance.now()
      let hasBegun = false
      try {
        const headers = { accept: 'text/event-stream', ...(last !== undefined && { 'last-event-id': last }) }
        const { statusCode, body } = await client.request({ path, method: 'GET', headers, signal })
        if (statusCode !== 200) {
          for await (const _chunk of body);
          throw new RequestFailure('status', `it was answered with ${statusCode}`)
        }
        hasBegun = true
        stay.opened++
        for await (const line of linesOf(body)) hear(line)
        count('end')
      } catch (error) {
        if (signal.aborted) return
        if (hasBegun) count('cut')
        witness.lost(stay.name, failureOf(error, hasBegun), began)
      }
    }

    function hear(line: string): void {
      const [, field, value = ''] = /^(data|id|retry): ?(.*)$/.exec(line) ?? []
      if (field === 'data') stay.received++
      if (field === 'retry' && /^\d+$/.test(value)) retry = Number(value)
      if (field !== 'id') return
      const step = stepBetween(last, value)
      if (step > 1) stay.missed += step - 1
      if (step <= 0) stay.doubled++
      last = value
    }
  }

  function count(end: string): void {
    stay.closed[end] = (stay.closed[end] ?? 0) + 1
  }
}

/** @returns 1 if one of them is no number */
function stepBetween(last: string | undefined, next: string): number {
  if (last === undefined || !/^\d{1,15}$/.test(last) || !/^\d{1,15}$/.test(next)) return 1
  return Number(next) - Number(last)
}

async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n/)
    rest = lines.pop() ?? ''
    yield* lines
  }
}
