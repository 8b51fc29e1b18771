import { setTimeout as sleep } from 'node:timers/promises'
import { Client, type Failure } from './http-client.ts'
import { isRunning } from './server.ts'

/** What the server says on a connection of its own. */
export async function ask(port: number, route = '/'): Promise<any> {
  const { body } = await new Client({ host: '127.0.0.1', port }).get(route, { Connection: 'close' })
  return JSON.parse(body.toString())
}

export interface RequestInFlight {
  /** It has arrived. */
  readonly begun: Promise<void>
  /** 'none' for one that was answered. */
  readonly failure: Promise<Failure | 'none'>
}

/** A request that takes so long, in milliseconds, or `'drain'` until a drain begins. */
export function inFlight(port: number, ms: number | 'drain'): RequestInFlight {
  const answer = new Client({ host: '127.0.0.1', port }).get(`/slow?ms=${ms}`)
  const failure = answer.then(
    () => 'none' as const,
    ({ failure }) => failure as Failure
  )
  return { begun: begin(), failure }

  async function begin(): Promise<void> {
    for (;;) {
      const { count } = await ask(port, '/open')
      if (count.active > 1) return // the one that asks is active too
      await sleep(10)
    }
  }
}

/** Waits for the end of a process that isn't a child of this one. */
export async function ends(pid: number): Promise<void> {
  const deadline = performance.now() + 10_000
  while (isRunning(pid)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} is running yet`)
    await sleep(20)
  }
}
