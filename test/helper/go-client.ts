import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { ended, startProgram } from './program.ts'
import type { Report } from './report.ts'
import { fixtures } from './server.ts'

let client: string | undefined

/** Clients of Go's net/http, until `done` is aborted. */
export async function runGoClient(
  { t, origin, done }: { readonly t: Test; readonly origin: string; readonly done: AbortSignal },
  version: '1' | '2' = '1'
): Promise<Report> {
  client ??= build()
  const child = startProgram(t, client, [origin, version])
  done.addEventListener('abort', () => child.stdin!.end())
  const { code, output } = await ended(child)
  return code === 0 ? JSON.parse(output) : { answers: 0, failures: { [output]: 1 } }
}

/** With Go's own cache, wherever that is: some versions of Go compile their whole library for an empty one. */
function build(): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'fgu-go-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const binary = path.join(directory, 'client')
  const { status, stderr, error } = spawnSync('go', ['build', '-o', binary, '.'], {
    cwd: path.join(fixtures, 'go-client'),
    env: { ...process.env, NODE_OPTIONS: '', GOFLAGS: '-mod=mod', GOPATH: path.join(directory, 'path') },
    encoding: 'utf8'
  })
  if (status !== 0) throw error ?? new Error(`go build: ${stderr}`)
  return binary
}
