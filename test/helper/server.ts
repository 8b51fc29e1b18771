import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

/** One line of a server's log. */
export interface LogLine {
  readonly msg: string
  readonly pid: number
  readonly generation: number
  readonly [key: string]: any
}

export interface StartOptions {
  /** What RELEASE says. */
  readonly release?: object
  readonly fixture?: string
  /** Instead of Node.js with the fixture. */
  readonly command?: readonly string[]
  readonly nodeArgs?: readonly string[]
  /** By `graceful-upgrade` with these options. */
  readonly supervised?: readonly string[]
  /** Of the program, behind its name. */
  readonly args?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly detached?: boolean
  /** The ids of its log lines are those of a PID namespace of its own: here they are other processes'. */
  readonly hasPidNamespace?: boolean
  readonly stdin?: 'ignore' | 'pipe' | number
}

/** A real server in a process of its own; it, and whatever it started, is gone when the test ends. */
export interface Server {
  readonly pid: number
  readonly child: ChildProcess
  readonly directory: string
  readonly lines: readonly LogLine[]
  /** Everything that it wrote to its standard error. */
  readonly stderr: () => string
  /** The same, once this is in it: a line on standard output, or the end of the process, may be heard of before. */
  saying(pattern: RegExp): Promise<string>
  /** Changes what the next generation will be. */
  deploy(release: object): void
  /** Waits for a line, also one of the past unless it was given out before. */
  line(msg: string | RegExp, matches?: (line: LogLine) => boolean): Promise<LogLine>
  /** SIGHUP, and the next generation is ready. */
  reload(): Promise<LogLine>
  kill(signal: NodeJS.Signals): void
  exit(): Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Of the first listener; a supervised server is ready then. */
  port(): Promise<number>
}

export const fixtures = path.resolve(import.meta.dirname, '../fixture')
/** Fastify for a program elsewhere: that of the fixtures, where it has been built, which starts in half the time. */
export const fastify = [fixtures, path.resolve(fixtures, '../..')]
  .map(folder => path.join(folder, 'node_modules/fastify'))
  .find(existsSync)!
/** The program `graceful-upgrade`, as it is installed. */
export const cli = path.resolve(import.meta.dirname, '../../dist/cli.cjs')

export function startServer(t: Test, options: StartOptions = {}): Server {
  const directory = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const releaseFile = path.join(directory, 'release.json')
  const deploy = (release: object) => {
    writeFileSync(`${releaseFile}.new`, JSON.stringify(release))
    renameSync(`${releaseFile}.new`, releaseFile) // a server that reads it at this moment finds one of the two, whole
  }
  deploy(options.release ?? {})

  const script = path.resolve(fixtures, options.fixture ?? 'server.js')
  const child = spawn(
    'env', // which becomes the server; tap's own NODE_OPTIONS would bring its listeners for signals
    [
      '-u',
      'NODE_OPTIONS',
      ...Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`),
      ...(options.command ?? [
        process.execPath,
        ...(options.supervised ? [cli, ...options.supervised] : []),
        ...(options.nodeArgs ?? []),
        script,
        ...(options.args ?? [])
      ])
    ],
    {
      cwd: options.cwd ?? directory,
      env: { ...cleanEnvironment(), RELEASE: releaseFile },
      stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
      detached: options.detached ?? true
    }
  )
  const pid = child.pid as number
  const lines: LogLine[] = []
  const given = new Set<LogLine>()
  const waiting = new Set<() => void>()
  const pids = new Set<number>([pid])
  let stderr = ''
  child.stderr!.on('data', chunk => (stderr += chunk))
  createInterface({ input: child.stdout! }).on('line', text => {
    let line: LogLine
    try {
      line = JSON.parse(text)
    } catch {
      line = { msg: text, pid: 0, generation: 0 }
    }
    lines.push(line)
    // A master speaks of another process than its own.
    if (line.generationPid) Object.assign(line, { pid: line.generationPid })
    if (line.pid && !options.hasPidNamespace) pids.add(line.pid)
    for (const look of [...waiting]) look()
  })
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))

  t.teardown(async () => {
    for (const each of pids) {
      try {
        process.kill(each, 'SIGKILL')
      } catch {}
    }
    await exited
    rmSync(directory, { recursive: true, force: true })
  })

  const server: Server = {
    pid,
    child,
    directory,
    lines,
    stderr: () => stderr,
    async saying(pattern) {
      const end = performance.now() + 60_000
      while (!pattern.test(stderr) && performance.now() < end) await sleep(10)
      return stderr
    },
    deploy,
    line(msg, matches = () => true) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look)
          const seen = lines.map(line => JSON.stringify(line)).join('\n')
          reject(new Error(`no line ${msg} came; there are:\n${seen}\nstandard error:\n${stderr}`))
        }, 60_000)
        waiting.add(look)
        look()
        function look() {
          const found = lines.find(
            line =>
              !given.has(line) &&
              (typeof msg === 'string' ? line.msg === msg : msg.test(line.msg)) &&
              matches(line)
          )
          if (!found) return
          given.add(found)
          clearTimeout(timer)
          waiting.delete(look)
          resolve(found)
        }
      })
    },
    async reload() {
      process.kill(pid, 'SIGHUP')
      return server.line('generation ready')
    },
    kill: signal => void process.kill(pid, signal),
    exit: () => exited,
    async port() {
      const { bound } = await server.line('listening on')
      given.clear()
      if (options.supervised) await server.line('generation ready')
      return bound.at(-1).port
    }
  }
  return server
}

/** Without what tap and npm put into the environment of this test. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const keep = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'USER']
  return Object.fromEntries(keep.flatMap(name => (process.env[name] ? [[name, process.env[name]]] : [])))
}

/** Resolves when a process stands still, in the middle of whatever it does. */
export async function stop(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  const state = () => spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout
  while (!state().startsWith('T')) await sleep(5)
}

/** A process that nobody waits for stays as a zombie where PID 1 is no init. */
export function isRunning(pid: number): boolean {
  if (process.platform === 'linux') {
    try {
      return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
    } catch {
      return false
    }
  }
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })
  return stdout.trim() !== '' && !stdout.startsWith('Z')
}
