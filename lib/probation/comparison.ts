import type { Tally } from '../protocol/probation.js'

/** Fewer errors than that may be anybody's bad luck. */
const leastErrors = 3

/** Chance alone must explain the difference less often than this: the question is asked again and again. */
const significance = 0.001

/** Of so many connections more than one must have had an error. */
const severalConnections = 3

export function hasEnoughErrors({ errors }: Tally): boolean {
  return errors >= leastErrors
}

/** What is shared out are connections: the errors of one client, whoever would have answered it, come to one of two by chance. */
function areOfSeveral({ connections = 0, erring = 0 }: Tally): boolean {
  return connections < severalConnections || erring > 1
}

/**
 * Whether a generation answers with more errors than the one beside it, in the same time, and that is not by chance. Where
 * both have the same cause for them, such as a database that is down, it is not worse.
 */
export function isWorse(candidate: Tally, current: Tally): boolean {
  return hasEnoughErrors(candidate) && areOfSeveral(candidate) && chanceOf(candidate, current) < significance
}

/**
 * How probable it is that chance gives the candidate at least so many of the errors, if both are alike: Fisher's exact test,
 * one-sided. It holds for small numbers, too. 1 where the other has answered nothing.
 */
export function chanceOf(candidate: Tally, current: Tally): number {
  const drawn = candidate.responses
  const all = drawn + current.responses
  const errors = candidate.errors + current.errors
  let term = Math.exp(
    logChoices(errors, candidate.errors) +
      logChoices(all - errors, drawn - candidate.errors) -
      logChoices(all, drawn)
  )
  let sum = term
  for (let count = candidate.errors; count < Math.min(errors, drawn); count++) {
    term *= ((errors - count) * (drawn - count)) / ((count + 1) * (all - errors - drawn + count + 1))
    sum += term
  }
  return Math.min(sum, 1)
}

/** The logarithm of the number of ways to choose so many of all. */
function logChoices(all: number, some: number): number {
  return logFactorial(all) - logFactorial(some) - logFactorial(all - some)
}

/** Stirling's series. */
function logFactorial(n: number): number {
  if (n < 2) return 0
  return n * Math.log(n) - n + Math.log(2 * Math.PI * n) / 2 + 1 / (12 * n) - 1 / (360 * n ** 3)
}
