/** @param ms milliseconds @returns `40 ms`, `0.4 s`, `2 min 5 s`, `3 h 4 min` or `2 d 3 h` */
export function duration(ms: number): string {
  if (ms < 100) return `${Math.max(Math.round(ms), 0)} ms`
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 60) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`
  const [minutes, hours, days] = [60, 3_600, 86_400].map(unit => Math.floor(seconds / unit)) as [
    number,
    number,
    number
  ]
  if (hours === 0) return `${minutes} min ${seconds % 60} s`
  return days === 0 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`
}
