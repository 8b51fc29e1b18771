import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** What a server has written, as far as it may have to be shown. */
export interface Output {
  /** Both of its streams have ended. */
  readonly closed: Promise<unknown>
  /** The end of its standard error; of its standard output, but for its log, where it has written nothing there. */
  lastWords(): string
  /** What its log calls an error, each once: the text of pino's lines of level 50 and above. */
  complaints(): readonly string[]
  /** Nothing more is read. */
  close(): void
}

const lastLines = 10
/** Of one line, in characters. */
const longestLine = 2_000
const mostComplaints = 20

/** A quick look, as thousands of lines a second may come. */
const isComplaint = /"level":[5-9]\d\b/

export function createOutput({ stdout, stderr }: ChildProcess): Output {
  const said = { stdout: [] as string[], stderr: [] as string[] }
  const complaints = new Set<string>()
  const closed = Promise.all([stdout, stderr].map(stream => stream && once(stream, 'close').catch(() => {})))
  if (stdout) readLines(stdout, line => hear('stdout', line))
  if (stderr) readLines(stderr, line => hear('stderr', line))
  return { closed, lastWords, complaints: () => [...complaints], close }

  function hear(where: keyof typeof said, line: string): void {
    const lines = said[where]
    if (!line.startsWith('{"level":')) lines.push(line.slice(0, longestLine))
    if (lines.length > lastLines) lines.shift()
    if (isComplaint.test(line) && complaints.size < mostComplaints) {
      const text = complaintOf(line)
      if (text !== undefined) complaints.add(text)
    }
  }

  function lastWords(): string {
    return (said.stderr.length > 0 ? said.stderr : said.stdout).join('\n')
  }

  function close(): void {
    stdout?.destroy()
    stderr?.destroy()
  }
}

function readLines(stream: NodeJS.ReadableStream, hear: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = (lines.pop() ?? '').slice(0, longestLine)
    for (const line of lines) hear(line)
  })
  stream.on('error', () => {})
}

/** `closing the application failed: Error: …` */
function complaintOf(line: string): string | undefined {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: unknown; err?: { message?: unknown } }
    const parts = [msg, err?.message].filter(part => typeof part === 'string' && part !== '')
    return parts.length === 0 ? undefined : [...new Set(parts)].join(': ')
  } catch {
    return undefined
  }
}
