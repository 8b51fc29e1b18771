import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
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
  return arriving(port, new Client({ host: '127.0.0.1', port }).get(`/slow?ms=${ms}`))
}

/** A request that takes until the last of its body is sent. */
export function half(port: number, host = '127.0.0.1'): RequestInFlight & { finish(): Promise<void> } {
  const client = new Client({ host, port })
  const type = 'Content-Type: application/x-www-form-urlencoded'
  const sent = client.socket().then(socket => {
    socket.write(`POST / HTTP/1.1\r\nHost: test\r\n${type}\r\nContent-Length: 3\r\n\r\na`)
    return socket
  })
  const answer = sent.then(() => client.response())
  const finish = async () => void (await sent).write('=1')
  return { ...arriving(port, answer), finish }
}

function arriving(port: number, answer: Promise<Response>): RequestInFlight {
  const failure = answer.then(
    () => 'none' as const,
    ({ failure }) => failure as Failure
  )
  const over = new AbortController()
  void failure.then(() => over.abort()) // on a machine so busy nobody may have seen it meanwhile
  const begun = active(port, 1, over.signal)
  begun.catch(() => {}) // whoever doesn't wait for it need not know that the server has ended meanwhile
  return { begun, answer, failure }
}

/** So many requests have arrived, and are not answered yet; or they are over. */
export async function active(port: number, requests: number, over?: AbortSignal): Promise<void> {
  // Any of several workers may have it. Who has asked stays, as it would count while it is being closed.
  const clients: Client[] = []
  while (!over?.aborted) {
    const client = new Client({ host: '127.0.0.1', port })
    clients.push(client)
    const { body } = await client.get('/open')
    if (JSON.parse(body.toString()).count.active > requests) break // the one that asks is active too
    await sleep(10)
  }
  for (const client of clients) client.close()
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

/** A worker has loaded this package: it listens for SIGHUP. Only Linux tells. */
export async function hasLoaded(pid: number): Promise<void> {
  const hears = () =>
    BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]}`) & 1n
  while (!hears()) await turn()
}
