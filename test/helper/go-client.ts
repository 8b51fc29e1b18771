import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { ended, startProgram } from './program.ts'
import type { Report } from './report.ts'
import { fixtures } from './server.ts'

let client: Promise<string> | undefined

/**
 * Clients of Go's net/http, until `done` is aborted.
 * @param onAnswer is told of each generation that answers, once at least
 */
export async function runGoClient(
  { t, origin, done }: { readonly t: Test; readonly origin: string; readonly done: AbortSignal },
  version: '1' | '2' = '1',
  onAnswer: (generation: number) => void = () => {}
): Promise<Report> {
  const child = startProgram(t, await buildGoClient(), [origin, version])
  done.addEventListener('abort', () => child.stdin!.end())
  createInterface({ input: child.stdout! }).on('line', line => {
    if (/^\d+$/.test(line)) onAnswer(Number(line))
  })
  const { code, output } = await ended(child)
  const [report = ''] = output.trimEnd().split('\n').slice(-1)
  return code === 0 ? JSON.parse(report) : { answers: 0, failures: { [output]: 1 } }
}

/** Once for all: to be called before other clients begin, as it takes its time. */
export function buildGoClient(): Promise<string> {
  client ??= build()
  return client
}

/** With Go's own cache, wherever that is: some versions of Go compile their whole library for an empty one. */
async function build(): Promise<string> {
  const directory = mkdtempSync(path.join(tmpdir(), 'fgu-go-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const binary = path.join(directory, 'client')
  await promisify(execFile)('go', ['build', '-o', binary, '.'], {
    cwd: path.join(fixtures, 'go-client'),
    env: { ...process.env, NODE_OPTIONS: '', GOFLAGS: '-mod=mod', GOPATH: path.join(directory, 'path') }
  })
  return binary
}
