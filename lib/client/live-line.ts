import { printableLine } from '../printable.js'
import { duration } from './duration.js'

/** Where lines go: a terminal, or not. */
export type Screen = NodeJS.WritableStream & {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

/** Between two looks at the clock on a terminal, in milliseconds. */
const tick = 100

/** Lines, of which a terminal rewrites the last one in place until it is worth keeping. */
export interface LiveLine {
  /** For the moment; `text` is given the time since then, or since `begun` by the clock. */
  note(text: (seconds: string) => string, begun?: number): void
  /** To stay. */
  line(text: string): void
  /** Takes the last note away. */
  clear(): void
}

/** @param now a clock, in milliseconds */
export function createLiveLine(stdout: Screen, now: () => number): LiveLine {
  /** As long as a note is shown. */
  let timer: NodeJS.Timeout | undefined
  return { note, line, clear }

  function note(text: (seconds: string) => string, begun = now()): void {
    clearInterval(timer)
    if (!stdout.isTTY) return line(text('').trimEnd())
    const draw = () => void stdout.write(`\r${fit(printableLine(text(duration(now() - begun))))}\x1b[K`)
    draw()
    timer = setInterval(draw, tick).unref()
  }

  function line(text: string): void {
    clear()
    stdout.write(`${printableLine(text)}\n`)
  }

  function clear(): void {
    if (timer === undefined) return
    clearInterval(timer)
    timer = undefined
    stdout.write('\r\x1b[K')
  }

  /** A line that wraps could not be rewritten. */
  function fit(text: string): string {
    const width = stdout.columns || 80
    return text.length < width ? text : `${text.slice(0, width - 2)}…`
  }
}
