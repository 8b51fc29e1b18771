import { readFileSync } from 'node:fs'
import { GracefulUpgradeError } from '../errors.js'

/** What a client sends, again and again. */
export interface PlannedRequest {
  /** `GET /`, by which the verdict speaks of it. */
  readonly name: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** How often, compared to the others. @default 1 */
  readonly weight: number
  /** The status that its answers have to have; undefined for what they have before the first upgrade. */
  readonly expect?: number
}

/** As it is written in JSON. */
interface Given {
  readonly method?: unknown
  readonly path?: unknown
  readonly headers?: unknown
  readonly body?: unknown
  readonly weight?: unknown
  readonly expect?: unknown
}

/**
 * @param texts `GET /`, `POST /orders {"n":1}`, a JSON object, or `@FILE` with an array of such
 * @throws GRACEFUL_UPGRADE_USAGE
 */
export function parseRequests(texts: readonly string[]): PlannedRequest[] {
  return texts.flatMap(text => (text.startsWith('@') ? fromFile(text.slice(1)) : [parseRequest(text)]))
}

function parseRequest(text: string): PlannedRequest {
  if (text.trimStart().startsWith('{')) return checked(parseJson(text, text), text)
  const [, method = 'GET', path, body] = /^(?:([A-Za-z]+) +)?(\/\S*)(?: +(.+))?$/s.exec(text.trim()) ?? []
  if (path === undefined)
    throw usage(`a request is METHOD /PATH, and a body if it has one, as 'GET /', and not ${text}`)
  return checked({ method, path, body }, text)
}

function fromFile(file: string): PlannedRequest[] {
  const list = parseJson(read(file), file)
  if (!Array.isArray(list) || list.length === 0) throw usage(`${file} must be a JSON array of requests`)
  return list.map(each =>
    typeof each === 'string' ? parseRequest(each) : checked(each, `a request in ${file}`)
  )
}

function checked(value: unknown, where: string): PlannedRequest {
  const { method = 'GET', path, headers = {}, body, weight = 1, expect } = (value ?? {}) as Given
  if (typeof method !== 'string' || typeof path !== 'string' || !/^\/\S*$/.test(path))
    throw usage(`${where}: a request needs a path that begins with /, and may have a method`)
  if (typeof weight !== 'number' || !(weight > 0)) throw usage(`${where}: weight must be a number above 0`)
  if (expect !== undefined && !isStatus(expect)) throw usage(`${where}: expect must be a status as 200`)
  const verb = method.toUpperCase()
  return {
    name: `${verb} ${path}`,
    method: verb,
    path,
    headers: { ...typeOf(body), ...checkHeaders(headers, where) },
    weight,
    ...(body != null && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...(expect !== undefined && { expect })
  }
}

export function isStatus(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 200 && (value as number) <= 599
}

/** Of names in lower case, so that one that is given wins. */
function checkHeaders(headers: unknown, where: string): Record<string, string> {
  const entries = typeof headers === 'object' && headers !== null ? Object.entries(headers) : []
  if (typeof headers !== 'object' || entries.some(([, value]) => typeof value !== 'string'))
    throw usage(`${where}: headers must be an object of strings`)
  return Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), value]))
}

/** Text that looks like JSON says so; else Fastify would refuse it. */
function typeOf(body: unknown): Record<string, string> {
  if (body == null) return {}
  const isJson = typeof body !== 'string' || /^\s*[[{]/.test(body)
  return { 'content-type': isJson ? 'application/json' : 'text/plain' }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw usage(`the requests can't be read: ${(cause as Error).message}`)
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw usage(`${where} is no JSON: ${(cause as Error).message}`)
  }
}

function usage(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
}
