import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { temporaryFolder } from './folder.ts'
import { python } from './python.ts'
import { type LogLine, startServer } from './server.ts'

/** Why a test with a terminal is to be skipped. */
export const noTerminal = python === undefined && 'python3 is not installed'

/** Lines on standard input: `shell …` types that, `type` types ^C, and `close` closes the terminal. */
const script = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
print('pid', pid, flush=True)
for line in sys.stdin:
    word, _, text = line.rstrip('\\n').partition(' ')
    if word == 'shell':
        os.write(fd, text.encode() + b'\\n')
    elif word == 'type':
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
  const log = path.join(temporaryFolder(t), 'terminal.log') // tap's own would be gone before the teardown reads it
  const terminal = startServer(t, { command: [python!, '-c', script, log, ...command], stdin: 'pipe' })
  const [, pid] = (await terminal.line(/^pid/)).msg.split(' ')
  t.teardown(() => {
    const others = hasPidNamespace ? [] : said().flatMap(line => [line.pid, line.generationPid ?? line.pid])
    for (const each of [Number(pid), ...others]) {
      try {
        process.kill(each, 'SIGKILL')
      } catch {}
    }
  })
  return { said, line, type, end }

  /** What it has logged so far. */
  function said(): LogLine[] {
    try {
      const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1)
      return lines.filter(line => line.startsWith('{')).map(line => JSON.parse(line))
    } catch {
      return [] // not yet
    }
  }

  async function line(msg: string, matches = (_line: LogLine) => true): Promise<LogLine> {
    const end = performance.now() + 60_000
    for (;;) {
      const found = said().find(line => line.msg === msg && matches(line))
      if (found) return found
      if (performance.now() > end)
        throw new Error(`no line ${msg} came; there are:\n${readFileSync(log, 'utf8')}`)
      await sleep(20)
    }
  }

  /** For a shell. */
  function type(command: string): void {
    terminal.child.stdin!.write(`shell ${command}\n`)
  }

  /** @returns what becomes of the server: `ended 0` */
  async function end(how: 'type' | 'close'): Promise<string> {
    terminal.child.stdin!.end(`${how}\n`)
    return (await terminal.line(/^ended/)).msg
  }
}
