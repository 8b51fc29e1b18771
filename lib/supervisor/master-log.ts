import { hostname } from 'node:os'
import type { Log } from '../log.js'

const levels = { info: 30, warn: 40, error: 50, fatal: 60 } as const

type Level = keyof typeof levels

/** What the terminal shows before a sentence that is no good news. */
const marks: Record<Level, string> = { info: '', warn: 'warning: ', error: 'error: ', fatal: 'error: ' }

/**
 * The supervised master's own log: pino's lines, so that they can stand among those of a Fastify application, and
 * sentences on a terminal. It is no pino, which would take more memory than all else in this process.
 */
export function createMasterLog(output: NodeJS.WriteStream): Log {
  const host = hostname()
  output.on('error', () => {}) // a log that can't be written must not end a server
  return { info: write('info'), warn: write('warn'), error: write('error'), fatal: write('fatal') } as Log

  function write(level: Level) {
    return (first: object | string, second?: string): void => {
      const [fields, msg] = typeof first === 'string' ? [{}, first] : [first, second ?? '']
      output.write(output.isTTY ? sentence(level, fields, msg) : line(level, fields, msg))
    }
  }

  function line(level: Level, fields: object, msg: string): string {
    const shown = Object.entries(fields).map(([name, value]) => [name, describe(value)])
    const start = { level: levels[level], time: Date.now(), pid: process.pid, hostname: host }
    return `${JSON.stringify({ ...start, ...Object.fromEntries(shown), msg })}\n`
  }
}

/** As pino's standard serializer shows an error. */
function describe(value: unknown): unknown {
  if (!(value instanceof Error)) return value
  const { name: type, message, stack, cause, ...rest } = value
  return { type, message, stack, ...rest, ...(cause === undefined ? {} : { cause: describe(cause) }) }
}

function sentence(level: Level, fields: object, msg: string): string {
  const time = new Date().toTimeString().slice(0, 8)
  const { err, generation, generationPid, ...others } = fields as Record<string, unknown>
  const pid = generationPid === undefined ? '' : `, pid ${generationPid}`
  const who = generation === undefined ? '' : ` (generation ${generation}${pid})`
  const details = Object.entries(others).flatMap(([name, value]) => {
    if (value == null || (Array.isArray(value) && value.length === 0)) return []
    if (name === 'ms') return [`${value} ms`]
    return [`${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`]
  })
  const reason = err instanceof Error ? `: ${err.message}` : ''
  const more = details.length === 0 ? '' : `, ${details.join(', ')}`
  return `${time} ${marks[level]}${msg}${who}${reason}${more}\n`
}
