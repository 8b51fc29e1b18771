/** @returns the one of these names that was probably meant; undefined where none is like it */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const [best] = names
    .map(each => ({ each, distance: distanceOf(name.toLowerCase(), each.toLowerCase()) }))
    .filter(({ each, distance }) => distance * 3 <= each.length)
    .sort((a, b) => a.distance - b.distance)
  return best?.each
}

/** Levenshtein's: how many letters are to be added, taken away or replaced. */
function distanceOf(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1]
    for (let at = 0; at < to.length; at++) {
      const kept = (row[at] as number) + (letter === to[at] ? 0 : 1)
      next.push(Math.min(kept, (row[at + 1] as number) + 1, (next[at] as number) + 1))
    }
    row = next
  }
  return row.at(-1) as number
}
