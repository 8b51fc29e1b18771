import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { cleanEnvironment } from './server.ts'

/** A client or tool that others wrote, in a process of its own; it is gone when the test ends. */
export function startProgram(t: Test, command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { env: cleanEnvironment(), stdio: 'pipe' })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

export interface Ended {
  readonly code: number | null
  /** Both standard output and standard error. */
  readonly output: string
}

export async function ended(child: ChildProcess): Promise<Ended> {
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', chunk => (output += chunk))
  const [code] = await once(child, 'close')
  return { code, output }
}

const found = new Map<string, boolean>()

/** @returns why a test is to be skipped; in CI on Linux nothing may be missing */
export function missing(...tools: string[]): string | false {
  const env = withSystemTools(process.env)
  for (const tool of tools)
    if (!found.has(tool)) found.set(tool, spawnSync(tool, ['--version'], { env }).error === undefined)
  const absent = tools.filter(tool => !found.get(tool))
  if (absent.length === 0 || (process.env.CI && process.platform === 'linux')) return false
  return `${absent.join(' and ')} not installed`
}

/** Debian has proxies where only root looks. */
export function withSystemTools(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, PATH: `${env.PATH}${path.delimiter}/usr/sbin` }
}

/** The lines that a process writes, one by one; it is gone when the test ends. */
export function linesOf(t: Test, child: ChildProcess): () => Promise<string> {
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  return async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error('the process has ended')
    return value
  }
}
