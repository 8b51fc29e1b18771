/** When which of several workers gives connections to the others, by the event loop utilisation (ELU) of each. */

/** What is known of the workers, after any number of looks at them. */
export interface Picture<Worker> {
  readonly workers: ReadonlyMap<Worker, Sight>
  /** The looks in a row, up to the last one, that found them uneven. */
  readonly uneven: { readonly looks: number; readonly excess: number }
}

interface Sight {
  /** As the last look found it. */
  readonly elu: number
  /** Half of it is what the last look found, a quarter what the one before did, and so on; null before its second look. */
  readonly smooth: number | null
}

/** One that shall give connections away. */
export interface Order<Worker> {
  readonly from: Worker
  /** From 0 to 1: so many of its connections. */
  readonly share: number
  /** How much busier it is than the least busy one: from 0 to 1. */
  readonly gap: number
}

/** What the busiest may be above the least busy: nobody is better off by less, and even loads are never equal. */
const longestGap = 0.2

/**
 * So much above `longestGap` are the gaps of all looks in a row, taken together, before anything is done. Chance is
 * rarely far above it, and not for long; a load that is really uneven comes to that by two looks, or by some more.
 */
const leastExcess = 0.2

/** Without such a pause one look that is far out would do. */
const leastLooks = 2

export function emptyPicture<Worker>(): Picture<Worker> {
  return { workers: new Map(), uneven: { looks: 0, excess: 0 } }
}

/**
 * @param elus of all workers that there are now; 1 where one doesn't say so in time. The first one of a worker does not
 * count: it has just started, and had nothing to do yet but that.
 */
export function lookAgain<Worker>(
  before: Picture<Worker>,
  elus: ReadonlyMap<Worker, number>
): Picture<Worker> {
  const workers = new Map<Worker, Sight>()
  for (const [worker, elu] of elus) {
    const known = before.workers.get(worker)
    const smooth = known === undefined ? null : ((known.smooth ?? elu) + elu) / 2
    workers.set(worker, { elu, smooth })
  }
  const { looks, excess } = before.uneven
  const beyond = gapOf(workers) - longestGap
  return { workers, uneven: beyond > 0 ? { looks: looks + 1, excess: excess + beyond } : calm }
}

/** The same after something has been done: it takes its time to be seen. */
export function acted<Worker>({ workers }: Picture<Worker>): Picture<Worker> {
  return { workers, uneven: calm }
}

/** @param silent has not said what became of the last order: where another one is too busy as well, it is that one's turn */
export function orderBy<Worker>(picture: Picture<Worker>, silent?: Worker): Order<Worker> | undefined {
  const { looks, excess } = picture.uneven
  if (looks < leastLooks || excess < leastExcess) return undefined
  const known = [...picture.workers].flatMap(([worker, { smooth }]) =>
    smooth === null ? [] : [{ worker, elu: smooth }]
  )
  const [busiest, second] = known.sort((one, other) => other.elu - one.elu)
  const least = known.at(-1)
  if (busiest === undefined || second === undefined || least === undefined) return undefined
  const giver = busiest.worker === silent && second.elu - least.elu > longestGap ? second : busiest
  const gap = giver.elu - least.elu
  // Half of it would make the two equal. A half of that: what is seen is late, and other connections weigh other than these.
  return { from: giver.worker, share: gap / (4 * giver.elu), gap }
}

const calm = { looks: 0, excess: 0 }

function gapOf(workers: ReadonlyMap<unknown, Sight>): number {
  const elus = [...workers.values()].flatMap(({ smooth }) => smooth ?? [])
  return elus.length < 2 ? 0 : Math.max(...elus) - Math.min(...elus)
}
