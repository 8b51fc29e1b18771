import { constants } from 'node:os'
import { checkRule, isCheck } from '../check.js'

/** What an option may be. */
export interface Kind {
  /** In words. */
  readonly rule: string
  allows(value: unknown): boolean
  /** From a variable of the environment; what can't be parsed stays as it is, to be refused. */
  fromText?(text: string): unknown
  /** Only the application's code can give it. */
  readonly isCode?: true
}

/** Some 11 days, in milliseconds. The sum of two is timed too, and beyond 2 ** 31 - 1 setTimeout() fires at once. */
export const longestTime = 1_000_000_000

/** Of what comes in front of two such times, in milliseconds. */
export const longestDelay = 100_000_000

/** Those of close-with-grace that ask a process to end; the others of it mean that the process is broken. */
const graceSignals: readonly unknown[] = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGUSR2', 'SIGHUP']

/** No process can listen for these, or Node.js and the debugger need them. */
const reservedSignals = new Set(['SIGKILL', 'SIGSTOP', 'SIGUSR1', 'SIGCHLD', 'SIGPROF'])

export function time(least: number, most = longestTime): Kind {
  return number('a number of milliseconds', least, most)
}

export function share(least: number): Kind {
  return number('a number', least, 1)
}

function number(what: string, least: number, most: number): Kind {
  return {
    rule: `${what} from ${least} to ${most}`,
    allows: value => typeof value === 'number' && value >= least && value <= most,
    fromText: text => (Number.isFinite(Number(text)) ? Number(text) : text)
  }
}

export function signal(): Kind {
  return {
    rule: "a signal's name",
    allows: value =>
      typeof value === 'string' && Object.hasOwn(constants.signals, value) && !reservedSignals.has(value)
  }
}

export function signals(): Kind {
  return {
    rule: `an array of ${graceSignals.join(', ')}`,
    allows: value => Array.isArray(value) && value.every(signal => graceSignals.includes(signal)),
    fromText: texts
  }
}

export function checks(): Kind {
  return { rule: checkRule, allows: value => value === false || isCheck(value), fromText: texts }
}

/** No text stands for one. */
export function code(): Kind {
  return { rule: 'a function', allows: value => typeof value === 'function', isCode: true }
}

function texts(text: string): string[] {
  return text.split(',').map(each => each.trim())
}

export function path(): Kind {
  return {
    rule: 'a path, true or false',
    allows: value => typeof value === 'boolean' || (typeof value === 'string' && value !== '')
  }
}

export function oneOf(rule: string, ...values: readonly unknown[]): Kind {
  return { rule, allows: value => values.includes(value) }
}

export function orFalse(kind: Kind): Kind {
  return {
    ...kind,
    rule: `${kind.rule}, or false`,
    allows: value => value === false || kind.allows(value)
  }
}
