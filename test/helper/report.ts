/** What a client says at its end. */
export interface Report {
  /** Answers that it counts as good. */
  readonly answers: number
  readonly failures: Record<string, number>
  /** Answers by the generation that gave them, where the client lets us see them. */
  readonly generations?: Record<number, number>
}

export function count<Name extends string | number>(
  counts: Record<Name, number>,
  name: Name,
  times = 1
): void {
  if (times > 0) counts[name] = (counts[name] ?? 0) + times
}
