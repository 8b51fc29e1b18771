/** By what is spoken on it: `other` is what HTTP/1.1 was left for (CONNECT), or the application's own protocol. */
export type ConnectionKind = 'http1' | 'http2' | 'webSocket' | 'other'

/** How many connections of one kind went which way. */
export interface Fate {
  /** To the next generation, open. */
  readonly moved: number
  /** To their end, in time. */
  readonly finished: number
  /** Of those that ended here: by GOAWAY or a WebSocket's close frame they were told to. */
  readonly told: number
  /** To a hard end at the deadline. */
  readonly cut: number
}

/** What became of the connections that were open when a drain began. */
export interface DrainReport {
  /** Whose next owner would not take them: they ended here. */
  readonly refused: number
  /** The longest time in which nobody read a connection that was moved, in milliseconds. */
  readonly longestPause: number
  /** Only the kinds that there were. */
  readonly kinds: Readonly<Partial<Record<ConnectionKind, Fate>>>
}

const kinds: readonly ConnectionKind[] = ['http1', 'http2', 'webSocket', 'other']
export const ways = ['moved', 'finished', 'told', 'cut'] as const

/** The sum of several drains, or undefined of none. */
export function sumReports([first, ...others]: readonly DrainReport[]): DrainReport | undefined {
  return first && others.reduce(sum, first)
}

function sum(one: DrainReport, other: DrainReport): DrainReport {
  const some = kinds.filter(kind => one.kinds[kind] ?? other.kinds[kind])
  return {
    refused: one.refused + other.refused,
    longestPause: Math.max(one.longestPause, other.longestPause),
    kinds: Object.fromEntries(some.map(kind => [kind, add(one.kinds[kind], other.kinds[kind])]))
  }
}

/** All kinds together. */
export function totalFate({ kinds }: Pick<DrainReport, 'kinds'>): Fate {
  return Object.values(kinds).reduce(add, noFate)
}

const noFate: Fate = { moved: 0, finished: 0, told: 0, cut: 0 }

function add(one: Fate = noFate, other: Fate = noFate): Fate {
  return {
    moved: one.moved + other.moved,
    finished: one.finished + other.finished,
    told: one.told + other.told,
    cut: one.cut + other.cut
  }
}

/** Of a report that another process sends. */
export function isDrainReport(value: unknown): value is DrainReport {
  const report = value as Partial<DrainReport> | null | undefined
  if (typeof report?.kinds !== 'object' || report.kinds === null) return false
  const fates: readonly (Partial<Fate> | null)[] = Object.values(report.kinds)
  const numbers = fates.flatMap(fate => ways.map(way => fate?.[way]))
  return [report.refused, report.longestPause, ...numbers].every(Number.isFinite)
}
