/**
 * How many of the connections that a sweep may end, it ends.
 * @param spreadTime from now on, in milliseconds; each of them ends at some moment of it. `false`: all at once
 */
export function createQuota(spreadTime: number | false): (count: number) => number {
  if (spreadTime === false) return count => count
  let last = performance.now()
  const end = last + spreadTime
  return function quota(count) {
    const now = performance.now()
    const share = now < end ? (now - last) / (end - last) : 1
    last = now
    return Math.floor(count * share + Math.random()) // a few connections too end at different times
  }
}
