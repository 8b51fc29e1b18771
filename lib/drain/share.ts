/**
 * What share of the connections that a sweep may end, it ends.
 * @param spreadTime from now on, in milliseconds; each of them ends at some moment of it. `false`: all at once
 * @returns from 0 to 1, to be asked once for each sweep
 */
export function createShare(spreadTime: number | false): () => number {
  if (spreadTime === false) return () => 1
  let last = performance.now()
  const end = last + spreadTime
  return function share() {
    const now = performance.now()
    const part = now < end ? (now - last) / (end - last) : 1
    last = now
    return part
  }
}
