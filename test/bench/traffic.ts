import net, { type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Failure } from '../helper/http-client.ts'
import { closingBrace, host } from './harness.ts'

export interface Load {
  readonly clients: number
  /** Longest pause before a request, in milliseconds; they are drawn evenly from 0 on. */
  readonly pause: number
  /** Of the requests. @default '/' */
  readonly path?: string
  /** A connection for each request. */
  readonly isFresh?: true
}

/** Clients at work. Each has one keep-alive connection, and none ever retries. */
export interface Traffic {
  /** TCP connections beyond one for each client. */
  reconnects(): number
  readonly failures: Partial<Record<Failure, number>>
  /** For each answer, when it was wanted (performance.now()), and how long it took, a new connection included. */
  readonly begun: readonly number[]
  readonly took: readonly number[]
  /** Lets the requests under way end. One that has no answer 5 s later is a failure: 'timeout'. */
  stop(): Promise<void>
}

/** A client that has failed waits, in milliseconds: else it would count how fast a refusal is. */
const pauseAfterFailure = 10
const longestWait = 5_000

/**
 * A client is a few closures without a promise: it shares the machine with the server that it measures.
 * @param connected what the first of them begin with
 */
export function drive(port: number, load: Load, connected: readonly Socket[] = []): Traffic {
  const { clients, pause, path = '/', isFresh } = load
  const request = `GET ${path} HTTP/1.1\r\nHost: bench\r\n${isFresh ? 'Connection: close\r\n' : ''}\r\n`
  const failures: Partial<Record<Failure, number>> = {}
  const begun: number[] = []
  const took: number[] = []
  const cleanUps: (() => void)[] = []
  let opened = 0
  let active = clients
  let stopped = false
  let allDone = () => {}
  for (let index = 0; index < clients; index++) startClient(connected[index])
  return { reconnects: () => Math.max(opened - clients, 0), failures, begun, took, stop }

  async function stop(): Promise<void> {
    stopped = true
    const done = new Promise<void>(resolve => (allDone = resolve))
    if (active > 0) await Promise.race([done, sleep(longestWait)])
    for (const cleanUp of cleanUps) cleanUp()
  }

  function startClient(socket?: Socket): void {
    let wanted: number | undefined
    let answer = ''
    cleanUps.push(cleanUp)
    if (socket !== undefined) follow(socket)
    later(pause)

    function later(longest: number): void {
      if (longest > 0) setTimeout(ask, Math.random() * longest)
      else ask()
    }

    function ask(): void {
      if (stopped) return finish()
      wanted = performance.now()
      socket ??= connect()
      socket.write(request)
    }

    function connect(): Socket {
      return follow(net.connect({ host, port, noDelay: true }))
    }

    function follow(own: Socket): Socket {
      opened++
      answer = ''
      own.on('data', chunk => read(own, chunk))
      own.on('error', error => lose(own, failureOf(error)))
      own.on('end', () => lose(own, 'eof'))
      own.on('close', () => lose(own, 'eof'))
      return own
    }

    function read(from: Socket, chunk: Buffer): void {
      if (from !== socket) return
      answer += chunk.toString('latin1')
      if (chunk.at(-1) !== closingBrace) return
      const isFine = answer.startsWith('HTTP/1.1 200')
      if (/\r\nconnection: close/i.test(answer)) leave()
      answer = ''
      if (wanted === undefined || !isFine) return fail('non-2xx')
      begun.push(wanted)
      took.push(performance.now() - wanted)
      wanted = undefined
      later(pause)
    }

    /** Between two requests a server may close; during one it may not. */
    function lose(own: Socket, failure: Failure): void {
      if (own !== socket) return
      leave()
      if (wanted !== undefined) fail(answer === '' ? failure : 'short body')
    }

    function fail(failure: Failure): void {
      failures[failure] = (failures[failure] ?? 0) + 1
      wanted = undefined
      if (stopped) finish()
      else setTimeout(ask, pauseAfterFailure)
    }

    function finish(): void {
      active--
      if (active === 0) allDone()
    }

    function leave(): void {
      socket?.destroy()
      socket = undefined
    }

    function cleanUp(): void {
      if (wanted !== undefined) failures.timeout = (failures.timeout ?? 0) + 1
      socket?.resetAndDestroy()
      socket = undefined
    }
  }
}

function failureOf({ code }: NodeJS.ErrnoException): Failure {
  if (code === 'ECONNREFUSED') return 'refused'
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'reset'
  return 'other'
}

/**
 * How long those answers took that were wanted in a time, by performance.now().
 * @param to the default is without an end
 */
export function answersFrom(
  { begun, took }: Pick<Traffic, 'begun' | 'took'>,
  from: number,
  to = Number.POSITIVE_INFINITY
): number[] {
  return took.filter((_, index) => begun[index]! >= from && begun[index]! < to)
}

export function describeLoad({ clients, pause }: Load): string {
  return `${clients} clients ${pause === 0 ? 'without a pause' : `with pauses of 0 to ${pause} ms`}`
}
