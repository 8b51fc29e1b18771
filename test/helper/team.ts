import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { ask as askMaster } from '../../lib/client/ask.js'
import { findMaster } from '../../lib/client/find.js'
import type { Status, WorkerStatus } from '../../lib/control/messages.js'
import { Client } from './http-client.ts'
import { type LoadResult, startLoad } from './load.ts'
import { type LogLine, type Server, type StartOptions, startServer } from './server.ts'

/** A server of several workers, and the clients that it has all the time. */
export interface Team {
  readonly server: Server
  readonly port: number
  /** Clients with connections of their own, and others with a connection for each request. */
  readonly kept: ReturnType<typeof startLoad>
  readonly fresh: ReturnType<typeof startLoad>
  status(): Promise<Status>
  scale(workers: number): Promise<number>
  /** Of the generation that serves, the worker with this index that does. */
  worker(index: number): Promise<WorkerStatus>
  /** Resolves when this worker has been followed so often in its generation. */
  restarted(index: number, times: number): Promise<void>
  /** What is started from now on. */
  deploy(release?: object): void
  /** The line of the next start of this worker since the last `deploy()`. */
  spawned(index: number): Promise<LogLine>
  /** A connection that this worker has: others are closed again. */
  connect(index: number): Promise<Client>
  /** Ends the load. @returns what went wrong, by kind: with connections that were kept, and with fresh ones */
  stopLoad(): Promise<Pick<LoadResult, 'failures'>['failures'][]>
}

export const keptClients = 6

export async function startTeam(
  t: Test,
  { workers = 2, args = [] as readonly string[], release = {}, ...options }: TeamOptions = {}
): Promise<Team> {
  const listen = [{ port: 0, host: '127.0.0.1' }]
  const supervised = ['--workers', String(workers), ...args]
  const server = startServer(t, { supervised, ...options, release: { listen, ...release } })
  const port = await server.port()
  const address = { host: '127.0.0.1', port }
  let deployed = server.lines.length
  const kept = startLoad(t, address, { clients: keptClients, pause: [0, 60] })
  const fresh = startLoad(t, address, { clients: 3, pause: [0, 120], fresh: true })
  return { server, port, kept, fresh, status, scale, deploy, worker, restarted, spawned, connect, stopLoad }

  async function status(): Promise<Status> {
    return askMaster(await findMaster(String(server.pid)), 'status')
  }

  async function scale(workers: number): Promise<number> {
    return askMaster(await findMaster(String(server.pid)), { command: 'scale', workers: String(workers) })
  }

  async function worker(index: number): Promise<WorkerStatus> {
    for (;;) {
      const { generations } = await status()
      const found = generations[0]?.workers?.find(
        ({ worker, state }) => worker === index && state === 'serving'
      )
      if (found !== undefined) return found
      await sleep(20)
    }
  }

  async function restarted(index: number, times: number): Promise<void> {
    while ((await worker(index)).restarts < times) await sleep(20)
  }

  function deploy(release: object = {}): void {
    deployed = server.lines.length
    server.deploy({ listen, ...release })
  }

  function spawned(index: number): Promise<LogLine> {
    const isNew = (line: LogLine) => server.lines.indexOf(line) >= deployed
    return server.line('generation spawned', line => line.worker === index && isNew(line))
  }

  async function connect(index: number): Promise<Client> {
    for (;;) {
      const client = new Client(address)
      const { worker } = JSON.parse((await client.get('/')).body.toString())
      if (worker === index) {
        t.teardown(() => client.close())
        return client
      }
      client.close()
      await sleep(5)
    }
  }

  async function stopLoad() {
    return [(await kept.stop()).failures, (await fresh.stop()).failures]
  }
}

export interface TeamOptions extends Omit<StartOptions, 'supervised' | 'release'> {
  readonly workers?: number
  /** More words for `graceful-upgrade`. */
  readonly args?: readonly string[]
  readonly release?: object
}

/** How many requests have failed. */
export function sum(failures: LoadResult['failures']): number {
  return Object.values(failures).reduce((total, count) => total + count, 0)
}
