/** How numbers are shown. */

/** @returns `12,431` */
export function count(number: number): string {
  return number.toLocaleString('en-US')
}

/** @returns `1 request`, `2 requests` */
export function plural(number: number, noun: string, nouns = `${noun}s`): string {
  return `${count(number)} ${number === 1 ? noun : nouns}`
}

/** @returns `0.4 ms`, `3 ms`, `140 ms`, `1.2 s` */
export function milliseconds(ms: number): string {
  if (ms >= 999.5) return `${(ms / 1_000).toFixed(1)} s`
  return `${ms < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`
}

/** @returns `58 MB` */
export function megabytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MB`
}
