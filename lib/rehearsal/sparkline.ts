const bars = [...'▁▂▃▄▅▆▇█']

/**
 * A line of bars, and below it one that marks moments.
 * @param values one for each step of time; null for none
 * @param marks indexes of steps
 * @param failures of these steps: a bar is `×` where there were any
 * @param width at most so many characters
 */
export function sparkline(
  values: readonly (number | null)[],
  failures: readonly number[],
  marks: readonly number[],
  width: number
): string[] {
  const size = Math.max(Math.ceil(values.length / width), 1)
  const columns = Array.from({ length: Math.ceil(values.length / size) }, (_, column) => column * size)
  const highest = columns.map(from => Math.max(...values.slice(from, from + size).map(value => value ?? 0)))
  const most = Math.max(...highest)
  const line = columns.map((from, column) => {
    if (failures.slice(from, from + size).some(count => count > 0)) return '×'
    return barOf(highest[column] ?? 0, most)
  })
  const marked = new Set(marks.map(mark => Math.floor(mark / size)))
  const below = columns.map((_, column) => (marked.has(column) ? '▲' : ' '))
  return [line.join(''), below.join('').trimEnd()]
}

/** Of a root, as one long answer would leave nothing to be seen of all others. */
function barOf(value: number, most: number): string {
  if (most <= 0 || value <= 0) return bars[0] as string
  return bars[Math.min(Math.floor(Math.sqrt(value / most) * bars.length), bars.length - 1)] as string
}
