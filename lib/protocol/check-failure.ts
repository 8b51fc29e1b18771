/** Why a generation that listens is not ready yet: its check has not passed. */
export interface CheckFailure {
  /** What was asked: `GET /health`. */
  readonly request: string
  /** What it came to: `answered 503`. */
  readonly outcome: string
  /** The first lines of the answer; empty where there is none. */
  readonly body: string
}

export function isCheckFailure(value: unknown): value is CheckFailure {
  const { request, outcome, body } = (value ?? {}) as Partial<Record<keyof CheckFailure, unknown>>
  return [request, outcome, body].every(text => typeof text === 'string')
}

/** In an error. */
export function describeCheckFailure({ request, outcome, body }: CheckFailure): string {
  return `${request} ${outcome}${body === '' ? '' : `: ${body}`}`
}
