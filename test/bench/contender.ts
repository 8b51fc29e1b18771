import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import net, { type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { host } from './harness.ts'

/** A way to upgrade: a program that prints `serving`, and on SIGHUP, when the next version listens, `generation ready`. */
export interface Contender {
  readonly name: string
  readonly program: string
  readonly args?: readonly string[]
  /** What it prints once all of it serves. @default 'serving' */
  readonly ready?: string
  readonly env: NodeJS.ProcessEnv
}

export interface LogLine {
  readonly msg: string
  readonly [key: string]: unknown
}

export interface Running {
  readonly port: number
  /** The process group of all its processes. */
  readonly group: number
  /** The next version listens. */
  upgrade(): Promise<void>
  /** The next line of this kind, counted from the start. */
  line(msg: string): Promise<LogLine>
  /** All further lines of this kind, as they come. */
  follow(msg: string, onLine: (line: LogLine) => void): void
}

export const ownContenders: readonly Contender[] = ['all', 'idle', 'false'].map(handover => ({
  name: handover === 'false' ? 'handover false' : `handover '${handover}'`,
  program: 'upgrade-server.js',
  env: { HANDOVER: handover }
}))

/** `graceful-upgrade` with these options. */
export function supervised(
  options: readonly string[],
  server = 'upgrade-server.js',
  env: NodeJS.ProcessEnv = { HANDOVER: 'idle' }
): Contender {
  return {
    name: options.join(' '),
    program: '../../dist/cli.cjs',
    args: [...options, path.join(import.meta.dirname, server)],
    ready: 'generation ready',
    env
  }
}

export const commonContenders: readonly Contender[] = [
  { name: 'close, restart', program: 'upgrade-restart.js', env: {} },
  { name: 'node:cluster', program: 'upgrade-cluster.js', env: {} }
]

const patience = 45_000
const started = new Set<ChildProcess>()
const directories = new Set<string>()

process.on('exit', () => {
  for (const child of started) killGroup(child)
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1))

/** Is gone with this process. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'bench-'))
  directories.add(directory)
  return directory
}

/** pm2, unless PM2=0, or it can't be had: then it says so. */
export function withPm2(): Contender[] {
  if (process.env.PM2 === '0') return []
  const pm2 = pm2Contender()
  if (typeof pm2 !== 'string') return [pm2]
  console.log(`pm2 was left out: ${pm2}\n`)
  return []
}

/**
 * pm2 from node_modules, or else installed for this run, outside of the package.
 * @returns why not, where it can't be had
 */
function pm2Contender(): Contender | string {
  const directory = temporaryDirectory()
  let from = import.meta.filename
  if (!isResolvable('pm2', from)) {
    from = path.join(directory, 'package.json')
    const args = ['install', '--prefix', directory, '--no-audit', '--no-fund', '--loglevel=error', 'pm2']
    try {
      execFileSync('npm', args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 90_000 })
    } catch (error) {
      return `it could not be installed: ${(error as Error).message.split('\n', 2).join(' ')}`
    }
  }
  const env = { PM2_PACKAGE: from, PM2_HOME: path.join(directory, 'home') }
  return { name: 'pm2 reload', program: 'upgrade-pm2.js', env }
}

/** Runs a server for as long as `work` takes; whatever it has started is gone afterwards. */
export async function withServer<T>(contender: Contender, work: (server: Running) => Promise<T>): Promise<T> {
  const port = await freePort()
  const child = start(contender, port)
  const exited = once(child, 'exit')
  const died = exited.then(([code, signal]) => {
    throw new Error(`the server of ${contender.name} exited: ${signal ?? code}`)
  })
  try {
    return await Promise.race([serve(contender, child, port).then(work), died])
  } finally {
    killGroup(child)
    await exited
    started.delete(child)
  }
}

/** Boots the same program beside a server, as an upgrade would, and takes nothing from that. */
export async function bootBeside(contender: Contender, life: number): Promise<void> {
  const child = start(contender, 0)
  const exited = once(child, 'exit')
  await sleep(life)
  killGroup(child)
  await exited
  started.delete(child)
}

function start({ program, args = [], env }: Contender, port: number): ChildProcess {
  const child = spawn(process.execPath, [path.join(import.meta.dirname, program), ...args], {
    env: { ...process.env, ...env, NODE_OPTIONS: '', PORT: String(port) },
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true // a process group of its own, to be killed as a whole
  })
  started.add(child)
  return child
}

async function serve(
  { name, ready = 'serving' }: Contender,
  child: ChildProcess,
  port: number
): Promise<Running> {
  const lines: LogLine[] = []
  const followers = new Map<string, (line: LogLine) => void>()
  const waiting = new Set<() => void>()
  createInterface({ input: child.stdout! }).on('line', text => {
    const said = JSON.parse(text)
    const follower = followers.get(said.msg)
    if (follower !== undefined) return follower(said)
    lines.push(said)
    for (const look of waiting) look()
  })
  await line(ready)
  return { port, group: child.pid!, upgrade, line, follow: (msg, onLine) => followers.set(msg, onLine) }

  async function upgrade(): Promise<void> {
    process.kill(child.pid!, 'SIGHUP')
    await line('generation ready')
  }

  function line(msg: string): Promise<LogLine> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(look)
        reject(new Error(`${name}: no line '${msg}' came in ${patience / 1_000} s`))
      }, patience)
      waiting.add(look)
      look()
      function look(): void {
        const index = lines.findIndex(each => each.msg === msg)
        if (index === -1) return
        clearTimeout(timer)
        waiting.delete(look)
        resolve(lines.splice(index, 1)[0]!)
      }
    })
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, 'SIGKILL')
  } catch {} // nobody is left
}

/** Contenders that restart can't ask for port 0. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function isResolvable(name: string, from: string): boolean {
  try {
    return createRequire(from).resolve(name) !== ''
  } catch {
    return false
  }
}
