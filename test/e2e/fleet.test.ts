/** Three servers behind a balancer, one after the other restarted, and then upgraded, under load. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { haproxyFor, nginxFor } from '../helper/fleet.ts'
import { freePorts } from '../helper/free-port.ts'
import { Client, RequestError } from '../helper/http-client.ts'
import { missing } from '../helper/program.ts'
import { type ProxyKind, startProxy } from '../helper/proxy.ts'
import { type LogLine, type Server, startServer } from '../helper/server.ts'

const clients = 10

/** A balancer learns in so many milliseconds that a server goes, be it slow. */
const closeDelay = 2_000

function startOne(t: Test, port: number): Server {
  return startServer(t, {
    supervised: ['--close-delay', String(closeDelay)],
    release: { listen: [{ port, host: '127.0.0.1' }] }
  })
}

/** Clients that keep their connection to the balancer, and never ask for the same again. */
async function startFront(t: Test, kind: ProxyKind, port: number) {
  const proxy = await startProxy(t, kind, { port })
  const done = new AbortController()
  t.teardown(() => done.abort())
  const failures: Record<string, number> = {}
  const met = new Set<number>()
  let requests = 0
  const running = Promise.all(Array.from({ length: clients }, run))
  return {
    kind,
    proxy,
    failures,
    requests: () => requests,
    /** Resolves when this process has answered from now on. */
    async meets(pid: number) {
      met.delete(pid)
      while (!met.has(pid)) await sleep(5)
    },
    stop() {
      done.abort()
      return running
    }
  }

  async function run(): Promise<void> {
    const client = new Client(proxy.address)
    while (!done.signal.aborted) {
      await sleep(Math.random() * 50)
      requests++
      try {
        const { status, body } = await client.get('/')
        if (status === 200) met.add(JSON.parse(body.toString()).pid)
        else fail(String(status))
      } catch (error) {
        fail(error instanceof RequestError ? error.failure : String(error))
        client.close()
      }
    }
    client.close()
  }

  function fail(how: string): void {
    failures[how] = (failures[how] ?? 0) + 1
  }
}

t.test('three servers are restarted with closeDelay, and upgraded, and no client fails', async t => {
  const ports = await freePorts(3)
  const servers = ports.map(port => startOne(t, port))
  const first = await Promise.all(servers.map(server => server.line('generation ready')))
  const kinds = [haproxyFor(ports), nginxFor(ports)].filter(({ name }) => !missing(name))
  const fronts = await Promise.all(kinds.map(kind => startFront(t, kind, ports[0]!)))
  const meet = ({ generationPid }: LogLine) => Promise.all(fronts.map(({ meets }) => meets(generationPid)))
  for (const ready of first) await meet(ready)

  for (const [index, port] of ports.entries()) {
    const old = servers[index]!
    old.kill('SIGTERM')
    t.same(await old.exit(), { code: 0, signal: null })
    const drains = old.lines.filter(({ msg }) => msg === 'drained')
    t.ok(drains.every(({ cut }) => cut === 0))
    const next = startOne(t, port)
    servers[index] = next
    await meet(await next.line('generation ready'))
  }
  for (const server of servers) await meet(await server.reload())

  for (const { kind, proxy, failures, requests, stop } of fronts) {
    await stop()
    t.same(failures, {}, `behind ${kind.name} none of ${requests()} fails`)
    await proxy.stop()
    t.same(proxy.complaints(), [])
    t.comment(JSON.stringify(proxy.exchanges()))
  }
  for (const server of servers) server.kill('SIGTERM')
  for (const server of servers) server.kill('SIGTERM') // skips the delay
  for (const server of servers) t.same(await server.exit(), { code: 0, signal: null })
})
