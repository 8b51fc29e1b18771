import type { FastifyBaseLogger } from 'fastify'

/** A logger whose lines are read by the test: `error: closing failed`. */
export function playLog() {
  const lines: string[] = []
  const fields: unknown[] = []
  const write = (level: string) => (first: unknown, sentence?: string) => {
    lines.push(`${level}: ${sentence ?? first}`)
    fields.push(first)
  }
  const levels = ['info', 'warn', 'error', 'fatal'].map(level => [level, write(level)])
  return { log: Object.fromEntries(levels) as FastifyBaseLogger, lines, fields }
}
