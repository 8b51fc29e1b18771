import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../log.js'
import type { Worker } from '../master/generation.js'
import type { BalanceCounts } from '../master/scaling.js'
import { acted, emptyPicture, lookAgain, orderBy } from './balance-rule.js'

/** Has the busy ones of several workers give connections to the others, as long as their loads differ. */
export interface Balance {
  stop(): void
}

export type BalancedWorker = Pick<Worker, 'processes' | 'load' | 'share'>

export interface BalanceOptions<Each extends BalancedWorker> {
  /** Those that serve now, each of them the same object every time: what is known of a worker is known of that. */
  readonly members: () => readonly Each[]
  /** What it does is added to these. */
  readonly counts: BalanceCounts
  readonly log: Log
  /** Is told after each look how busy each of them is, from 0 to 1. */
  readonly onLook?: (member: Each, elu: number) => void
  /** Pause between two looks, in milliseconds. @default 500 */
  readonly interval?: number
}

/** Who doesn't say in this time how busy it is, in milliseconds, is very busy. */
const answerTime = 400

/** From this event loop utilisation on a process may be too slow to give its connections away. */
const saturated = 0.95

export function createBalance<Each extends BalancedWorker>(options: BalanceOptions<Each>): Balance {
  const { members, counts, log, onLook, interval = 500 } = options
  let state: 'idle' | 'looking' = 'idle'
  let picture = emptyPicture<Each>()
  let silent: Each | undefined
  /** They were slow to give away what they should: if they are saturated still, they close them next time. */
  const slow = new WeakSet<Each>()
  const timer = setInterval(() => void look(), interval).unref()

  return { stop: () => clearInterval(timer) }

  async function look(): Promise<void> {
    if (state === 'looking') return
    state = 'looking'
    const all = members()
    picture = lookAgain(picture, all.length > 1 ? await elusOf(all) : new Map())
    for (const [member, { smooth }] of picture.workers) onLook?.(member, smooth ?? 0)
    const order = orderBy(picture, silent)
    if (order !== undefined) {
      await give(order.from, order.share)
      picture = acted(picture)
    }
    state = 'idle'
  }

  async function give(from: Each, share: number): Promise<void> {
    const { elu = 0 } = picture.workers.get(from) ?? {}
    const how = slow.delete(from) && elu >= saturated ? 'close' : 'move'
    const shared = await from.share({ share, how })
    silent = shared === null ? from : undefined
    if (how === 'move' && (shared === null || shared.gone < shared.wanted / 2)) slow.add(from)
    if (shared === null || shared.gone === 0) return
    counts[how === 'move' ? 'moved' : 'closed'] += shared.gone
    const [{ worker, pid } = { worker: 0, pid: 0 }] = from.processes()
    const elus = [...picture.workers.values()].map(({ elu }) => Math.round(elu * 100) / 100)
    log.info({ worker, generationPid: pid, elus, how, ...shared }, 'connections shared')
  }
}

async function elusOf<Each extends BalancedWorker>(all: readonly Each[]): Promise<Map<Each, number>> {
  const timeUp = sleep(answerTime, null, { ref: false })
  const loads = all.map(async member => {
    const load = await Promise.race([member.load(), timeUp])
    return [member, load?.elu ?? 1] as const
  })
  return new Map(await Promise.all(loads))
}
