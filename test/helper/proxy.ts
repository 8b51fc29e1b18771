import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { freePort } from './free-port.ts'
import { Client } from './http-client.ts'
import { withSystemTools } from './program.ts'
import { cleanEnvironment } from './server.ts'

/** A program that stands in front of a server. */
export interface ProxyKind {
  readonly name: string
  /** What it is called with, to run in the foreground. */
  arguments(config: string): readonly string[]
  /**
   * Its configuration. It retries nothing, and logs to its standard output or standard error: a line for each
   * exchange that begins with `exchange `, and what it has to complain of.
   */
  configure(place: Place): string
  /** Upon this one it ends when its last connection has. */
  readonly stopSignal: NodeJS.Signals
  /** Lines of its log that are no complaint. */
  readonly chatter?: RegExp
}

export interface Place {
  /** Its own, and empty. */
  readonly directory: string
  /** Where it listens. */
  readonly address: { readonly host: string; readonly port: number }
  readonly upstream: Upstream
}

/** Where the server listens. */
export type Upstream = { readonly port: number } | { readonly path: string }

export interface Proxy {
  readonly address: Place['address']
  /** Resolves when it and its workers have gone. */
  stop(): Promise<void>
  /** How often it has logged each kind of exchange. */
  exchanges(): Record<string, number>
  complaints(): string[]
}

/** A real proxy that accepts connections; it is gone when the test ends. */
export async function startProxy(t: Test, kind: ProxyKind, upstream: Upstream): Promise<Proxy> {
  const directory = mkdtempSync(path.join(tmpdir(), `fgu-${kind.name}-`))
  const address = { host: '127.0.0.1', port: await freePort() }
  const config = path.join(directory, 'config')
  writeFileSync(config, kind.configure({ directory, address, upstream }))

  const log = path.join(directory, 'log')
  const output = openSync(log, 'a')
  const child = spawn(kind.name, kind.arguments(config), {
    cwd: directory,
    env: withSystemTools(cleanEnvironment()),
    stdio: ['ignore', output, output]
  })
  closeSync(output)
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM') // both end at once
    await exited
    rmSync(directory, { recursive: true, force: true })
  })
  await Promise.race([
    accepts(address),
    exited.then(([code]) => {
      throw new Error(`${kind.name} has ended with ${code}: ${readFileSync(log, 'utf8')}`)
    })
  ])
  return {
    address,
    async stop() {
      child.kill(kind.stopSignal)
      await exited
    },
    exchanges() {
      const counts: Record<string, number> = {}
      for (const line of lines().filter(isExchange)) counts[line] = (counts[line] ?? 0) + 1
      return counts
    },
    complaints: () => lines().filter(line => !isExchange(line) && !kind.chatter?.test(line))
  }

  function lines(): string[] {
    return readFileSync(log, 'utf8').split('\n').filter(Boolean)
  }
}

function isExchange(line: string): boolean {
  return line.startsWith('exchange ')
}

/** No proxy says that it listens. */
async function accepts(address: Place['address']): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end; await sleep(20)) {
    const client = new Client(address)
    const connected = await client.socket().then(
      () => true,
      () => false
    )
    client.close()
    if (connected) return
  }
  throw new Error('the proxy accepts no connection')
}
