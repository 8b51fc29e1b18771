import { printableLine } from '../printable.js'

export type Row = readonly unknown[]

/** What stands for a head where there is no room. */
const shorter = new Map([['GENERATION', 'GEN']])

/**
 * Lines of aligned columns.
 * @param width where they would be wider, they move together
 */
export function layOut(rows: readonly Row[], width = Number.POSITIVE_INFINITY): string {
  const cells = rows.map(row => row.map(cell => printableLine(String(cell))))
  const lines = align(cells, '  ')
  if (Math.max(...lines.map(line => line.length)) <= width) return joined(lines)
  const [head = [], ...others] = cells
  return joined(align([head.map(name => shorter.get(name) ?? name), ...others], ' '))
}

function align(rows: readonly (readonly string[])[], gap: string): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? []
  return rows.map(row => {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0))
    return cells.join(gap).trimEnd()
  })
}

function joined(lines: readonly string[]): string {
  return lines.map(line => `${line}\n`).join('')
}
