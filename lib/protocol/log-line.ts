import { isErrorCode, receivedError } from '../errors.js'
import type { Log } from '../log.js'

/** A line that one process says, and another one logs. */
export interface LogLine {
  readonly level: keyof Log
  readonly fields: Readonly<Record<string, unknown>>
  readonly text: string
}

const levels: readonly unknown[] = ['info', 'warn', 'error', 'fatal'] satisfies LogLine['level'][]

/** @param given what pino's methods are given: fields or an error first, or only a text */
export function lineOf(level: LogLine['level'], [first, second]: readonly unknown[]): LogLine {
  if (typeof first === 'string') return { level, fields: {}, text: first }
  const fields = first instanceof Error ? { err: first } : (first as Record<string, unknown>)
  const { err } = fields
  return {
    level,
    fields: err instanceof Error ? { ...fields, err: describe(err) } : fields,
    text: String(second ?? (err as Error | undefined)?.message ?? '')
  }
}

export function writeLine(log: Log, { level, fields, text }: LogLine): void {
  const { err } = fields
  log[level](isDescription(err) ? { ...fields, err: errorOf(err) } : fields, text)
}

export function isLogLine({ level, fields, text }: Readonly<Record<string, unknown>>): boolean {
  return levels.includes(level) && typeof fields === 'object' && fields !== null && typeof text === 'string'
}

/** Of an error JSON would leave nothing. */
interface Description {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly code?: unknown
  readonly lastWords?: string | undefined
  readonly cause?: Description | undefined
}

function isDescription(value: unknown): value is Description {
  return typeof (value as Partial<Description> | null | undefined)?.message === 'string'
}

function describe(error: Error): Description {
  const { name, message, stack, code, lastWords } = error as Error & Description
  const cause = error.cause instanceof Error ? describe(error.cause) : undefined
  return { name, message, stack, code, lastWords, cause }
}

function errorOf({ name, message, cause, ...rest }: Description): Error {
  const error = isErrorCode(rest.code) ? receivedError(rest.code, message) : new Error(message)
  const other = error.name !== name && { name } // else it would be shown as another field
  return Object.assign(error, rest, other, cause && { cause: errorOf(cause) })
}
