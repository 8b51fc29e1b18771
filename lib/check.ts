import type { InjectOptions } from 'fastify'

/** One request by which a new generation asks itself whether it can serve: what `inject()` takes, and what is expected. */
export interface CheckRequest {
  /** The path, from its first slash on. */
  readonly url: string
  /** @default 'GET' */
  readonly method?: InjectOptions['method']
  /** Besides those of `inject()`: `host` is `localhost:80`. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly payload?: string | object
  /** The status that is expected. @default any from 200 to 299 */
  readonly statusCode?: number
}

/** What the option `check` may be, in words. */
export const checkRule =
  "a path such as '/health', { url, method, headers, payload, statusCode }, an array of such, or false"

const isOption: Readonly<Record<keyof CheckRequest, (value: unknown) => boolean>> = {
  url: isPath,
  method: value => typeof value === 'string' && /^[A-Za-z-]+$/.test(value),
  headers: value => isObject(value) && !Array.isArray(value),
  payload: value => typeof value === 'string' || isObject(value),
  statusCode: value => Number.isInteger(value) && (value as number) >= 100 && (value as number) <= 599
}

/** Whether it is a check, or some. */
export function isCheck(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 && value.every(isOne) : isOne(value)
}

function isOne(value: unknown): boolean {
  if (!isObject(value)) return isPath(value)
  return (
    'url' in value &&
    Object.entries(value).every(
      ([name, each]) =>
        Object.hasOwn(isOption, name) && (each === undefined || isOption[name as keyof CheckRequest](each))
    )
  )
}

function isPath(value: unknown): boolean {
  return typeof value === 'string' && value.startsWith('/')
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
