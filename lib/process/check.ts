import { stripVTControlCharacters } from 'node:util'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { CheckRequest } from '../check.js'
import type { ResolvedOptions } from '../options/given.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import { now } from '../time/clock.js'
import { createDeferred } from '../time/deferred.js'

/** So much of an answer is told. */
const mostLines = 5

/** In UTF-16 units. */
const mostText = 500

/**
 * Asks an instance for each of its checks, one after the other, by `inject()`: no other generation can answer that.
 * @param onAsk is told what is asked, each time, and waited for
 * @returns the first one that doesn't pass; undefined if all do, or there are none. Never rejects
 */
export async function runCheck(
  app: Pick<FastifyInstance, 'inject'>,
  { check, checkTimeout }: Pick<ResolvedOptions, 'check' | 'checkTimeout'>,
  onAsk: (request: string) => unknown = () => {}
): Promise<CheckFailure | undefined> {
  for (const each of checksOf(check)) {
    const request = `${(each.method ?? 'GET').toUpperCase()} ${each.url}`
    await onAsk(request)
    const failure = await ask(app, each, checkTimeout)
    if (failure !== undefined) return { request, ...failure }
  }
  return undefined
}

function checksOf(check: ResolvedOptions['check']): CheckRequest[] {
  if (check === false) return []
  return [check].flat().map(each => (typeof each === 'string' ? { url: each } : each))
}

async function ask(
  app: Pick<FastifyInstance, 'inject'>,
  { statusCode: expected, ...request }: CheckRequest,
  checkTimeout: number
): Promise<Omit<CheckFailure, 'request'> | undefined> {
  const { promise: late, resolve } = createDeferred<undefined>()
  const aborter = new AbortController()
  const begun = now()
  const timer = setTimeout(() => {
    resolve(undefined)
    aborter.abort()
  }, checkTimeout).unref()
  try {
    const answer = app.inject({ ...request, signal: aborter.signal } as InjectOptions)
    const response = await Promise.race([answer, late])
    // Where the event loop stood still the answer comes before the timer.
    if (response === undefined || now() - begun > checkTimeout)
      return { outcome: `was not answered within checkTimeout (${checkTimeout} ms)`, body: '' }
    if (passes(response, expected)) return undefined
    return { outcome: outcomeOf(response, expected), body: firstLines(response) }
  } catch (error) {
    return { outcome: `failed: ${printable((error as Error).message)}`, body: '' }
  } finally {
    clearTimeout(timer)
  }
}

function passes({ statusCode }: LightMyRequestResponse, expected: number | undefined): boolean {
  return expected === undefined ? statusCode >= 200 && statusCode < 300 : statusCode === expected
}

function outcomeOf({ statusCode }: LightMyRequestResponse, expected: number | undefined): string {
  return `answered ${statusCode}${expected === undefined ? '' : ` instead of ${expected}`}`
}

function firstLines({ body }: LightMyRequestResponse): string {
  const lines = printable(body.slice(0, mostText)).split('\n')
  return lines.slice(0, mostLines).join('\n').trim()
}

/** It is shown on terminals, which would obey the rest. */
function printable(text: string): string {
  return stripVTControlCharacters(text).replace(/[^\P{C}\n\t]/gu, '')
}
