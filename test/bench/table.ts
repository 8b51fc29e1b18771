/** Prints rows below a heading; what is longer than its column pushes the others. */
export function printTable(heading: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = heading.map((_, column) =>
    Math.max(...[heading, ...rows].map(row => row[column]?.length ?? 0))
  )
  for (const row of [heading, ...rows]) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)
    )
    console.log(`   ${cells.join('  ')}`.trimEnd())
  }
  console.log()
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** The value below which this share of all lies, as one that has occurred. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN
}

export function milliseconds(value: number): string {
  return value < 100 ? value.toFixed(1) : value.toFixed(0)
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`
}

/** A ratio beside its target, and whether that is met. */
export function judged(ratio: number, target: 'at least' | 'at most' | 'less than', limit: number): string {
  const isMet = { 'at least': ratio >= limit, 'at most': ratio <= limit, 'less than': ratio < limit }[target]
  return `${ratio.toFixed(2)} times (target: ${target} ${limit}, ${isMet ? 'met' : 'not met'})`
}
