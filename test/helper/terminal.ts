import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type LogLine, startServer } from './server.ts'

/** Why a test with a terminal is to be skipped. */
export const noTerminal =
  spawnSync('python3', ['-c', 'import pty, os; os.waitstatus_to_exitcode']).status !== 0 &&
  'python3 is not installed'

/** A word on standard input: `type` types ^C, anything else closes the terminal. */
const script = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
print('pid', pid, flush=True)
if sys.stdin.readline().strip() == 'type':
    os.write(fd, b'\\x03')
else:
    os.close(fd)
print('ended', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
`

/**
 * A server in a terminal of its own; it, and whatever it started, is gone when the test ends.
 * @param hasPidNamespace its log's ids are those of a PID namespace of its own: here they are other processes'
 */
export async function startInTerminal(t: Test, command: readonly string[], hasPidNamespace = false) {
  const log = path.join(t.testdir(), 'terminal.log')
  const python = startServer(t, { command: ['python3', '-c', script, log, ...command], stdin: 'pipe' })
  const [, pid] = (await python.line(/^pid/)).msg.split(' ')
  t.teardown(() => {
    const others = hasPidNamespace ? [] : said().map(line => line.generationPid ?? line.pid)
    for (const each of [Number(pid), ...others]) {
      try {
        process.kill(each, 'SIGKILL')
      } catch {}
    }
  })
  return { said, line, end }

  /** What it has logged so far. */
  function said(): LogLine[] {
    try {
      const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1)
      return lines.filter(line => line.startsWith('{')).map(line => JSON.parse(line))
    } catch {
      return [] // not yet
    }
  }

  async function line(msg: string): Promise<LogLine> {
    for (;;) {
      const found = said().find(line => line.msg === msg)
      if (found) return found
      await sleep(20)
    }
  }

  /** @returns what becomes of the server: `ended 0` */
  async function end(how: 'type' | 'close'): Promise<string> {
    python.child.stdin!.end(`${how}\n`)
    return (await python.line(/^ended/)).msg
  }
}
