import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, type Failure, type Response } from './http-client.ts'
import { isRunning } from './server.ts'

/** What the server says on a connection of its own. */
export async function ask(port: number, route = '/'): Promise<any> {
  const { body } = await new Client({ host: '127.0.0.1', port }).get(route, { Connection: 'close' })
  return JSON.parse(body.toString())
}

export interface RequestInFlight {
  /** It has arrived. */
  readonly begun: Promise<void>
  readonly answer: Promise<Response>
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
  return { begun: active(port, 1), answer, failure }
}

/** So many requests have arrived, and are not answered yet. */
export async function active(port: number, requests: number): Promise<void> {
  for (;;) {
    const { count } = await ask(port, '/open')
    if (count.active > requests) return // the one that asks is active too
    await sleep(10)
  }
}

/** No client is left in the queue of a socket that no process accepts on any more. */
export async function untilRefused(port: number): Promise<void> {
  for (;;) {
    const socket = net.connect(port, '127.0.0.1').unref()
    const isRefused = await once(socket, 'connect').then(
      () => false,
      ({ code }) => code === 'ECONNREFUSED'
    )
    socket.destroy()
    if (isRefused) return
    await sleep(20)
  }
}

/** Waits for the end of a process that isn't a child of this one. */
export async function ends(pid: number): Promise<void> {
  const deadline = performance.now() + 60_000
  while (isRunning(pid)) {
    if (performance.now() > deadline) throw new Error(`process ${pid} is running yet`)
    await sleep(20)
  }
}
