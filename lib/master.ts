import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { GracefulUpgradeError } from './errors.js'
import type { Ending, Generation } from './generation.js'
import type { RawHandle } from './node-internals.js'
import type { ConnectionOffer, OfferAnswer, Relay, UpgradeResult } from './protocol.js'
import type { WorkerStart } from './worker.js'

/** The process that stays: it starts generations, and knows which one serves. */
export interface Master {
  /**
   * Starts the next generation, and lets it take over once it is ready; the old one then drains in its own time.
   * @throws GRACEFUL_UPGRADE_IN_PROGRESS, _CLOSING, _SPAWN_FAILED, _EXITED, _READY_TIMEOUT; the old one serves on
   */
  upgrade(): Promise<UpgradeResult>
  /** Takes a connection to the generation that serves. */
  readonly relay: Relay
  /** Drains and ends every generation; resolves with the exit code of the one that served. Idempotent. */
  close(signal: NodeJS.Signals | null): Promise<number>
  /** The application in this process has closed itself: an upgrade under way is given up. */
  abandon(): void
  /** Ends every child process at once. */
  kill(): void
}

export interface MasterOptions {
  readonly current: Generation
  readonly log: FastifyBaseLogger
  start(next: WorkerStart): Generation
  /** A worker takes over from the generation that ran in this process. */
  onRetire?(): void
  /** The last generation has left by itself: nobody serves any more. */
  onEnd(code: number): void
}

type Phase =
  | { readonly name: 'serving'; readonly current: Generation }
  | { readonly name: 'upgrading'; readonly current: Generation; readonly next: Generation }
  /** The worker that served has died: a pause, which `hurry` ends, and then `next`. */
  | { readonly name: 'replacing'; readonly attempt: Promise<UpgradeResult>; readonly hurry: AbortController }
  | { readonly name: 'replacing'; readonly attempt: Promise<UpgradeResult>; readonly next: Generation }
  | { readonly name: 'closing'; readonly done: Promise<number>; readonly ending: readonly Generation[] }

/** Pauses before a dead worker is replaced, in milliseconds: the first time at once, the last one again and again. */
const pauses = [0, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000]
/** A worker that has served for this long counts as healthy: its death starts from the first pause again. */
const healthyTime = 60_000

export function createMaster({ current: first, log, start, onRetire, onEnd }: MasterOptions): Master {
  let phase: Phase = { name: 'serving', current: first }
  let number = first.number
  let failures = 0
  const retiring = new Set<Generation>()
  const deaths = new WeakMap<Generation, { readonly ending: Ending; readonly served: number }>()
  watch(first)
  return { upgrade, relay, close, abandon, kill }

  async function upgrade(): Promise<UpgradeResult> {
    switch (phase.name) {
      case 'closing':
        throw refuse(new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING'))
      case 'upgrading':
        throw refuse(new GracefulUpgradeError('GRACEFUL_UPGRADE_IN_PROGRESS'))
      case 'replacing':
        if ('next' in phase) throw refuse(new GracefulUpgradeError('GRACEFUL_UPGRADE_IN_PROGRESS'))
        phase.hurry.abort()
        return phase.attempt
    }
    const { current } = phase
    const begun = performance.now()
    const next = startNext(current, current.pid === process.pid ? 'master' : 'worker')
    phase = { name: 'upgrading', current, next }
    current.upgrading(true)
    try {
      const result = await whenReady(next, begun)
      takeOver(next)
      retire(current)
      return result
    } catch (error) {
      if (!isClosing()) phase = { name: 'serving', current }
      current.upgrading(false)
      noticeDeath(current)
      throw error
    }
  }

  function startNext(from: Generation, succeeds: WorkerStart['succeeds']): Generation {
    const listeners = from.listeners()
    try {
      return start({ number: ++number, listeners, succeeds, onUpgrade: upgrade, onOffer: relay })
    } catch (cause) {
      const { message } = cause as Error
      const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', message, { cause })
      log.error({ err: error, generation: number }, 'upgrade failed')
      throw error
    }
  }

  /** To whoever serves now, which may be a later generation than the one that the offering one made way for. */
  function relay(offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    if (phase.name === 'closing') return Promise.resolve('refused')
    if (phase.name === 'replacing') return Promise.resolve('unavailable')
    return phase.current.adopt(offer, handle)
  }

  function takeOver(next: Generation): void {
    next.serve()
    phase = { name: 'serving', current: next }
    watch(next)
  }

  function retire(old: Generation): void {
    const begun = performance.now()
    retiring.add(old)
    if (old.pid === process.pid) onRetire?.()
    void old.retire().then(({ code, signal }) => {
      const ms = Math.round(performance.now() - begun)
      log.info({ generation: old.number, generationPid: old.pid, ms, code, signal }, 'generation retired')
      retiring.delete(old)
      old.release()
    })
  }

  function watch(generation: Generation): void {
    const since = performance.now()
    const onDeath = (ending: Ending) => {
      if (deaths.has(generation)) return
      deaths.set(generation, { ending, served: performance.now() - since })
      noticeDeath(generation)
    }
    void generation.ended.then(onDeath)
    void generation.dying.then(() => onDeath({ code: 1, signal: null }))
  }

  /** If the one that serves is dead; in the middle of an upgrade the next one may take its place first. */
  function noticeDeath(generation: Generation): void {
    const death = deaths.get(generation)
    if (death === undefined || phase.name !== 'serving' || phase.current !== generation) return
    const { code, signal } = death.ending
    if (code === 0) {
      log.info({ generation: generation.number, generationPid: generation.pid }, 'generation ended by itself')
      void close(null).then(() => onEnd(0))
      return
    }
    if (death.served >= healthyTime) failures = 0
    log.error(
      { generation: generation.number, generationPid: generation.pid, code, signal },
      'generation died'
    )
    retiring.add(generation) // it may drain yet
    void generation.ended.then(() => retiring.delete(generation))
    replace(generation)
  }

  function replace(dead: Generation): void {
    const hurry = new AbortController()
    const pause = pauses[Math.min(failures++, pauses.length - 1)] ?? 0
    const attempt = replaceAfter(pause, dead, hurry.signal)
    phase = { name: 'replacing', attempt, hurry }
    attempt.catch(() => {
      if (!isClosing()) replace(dead)
    })
  }

  async function replaceAfter(pause: number, dead: Generation, hurry: AbortSignal): Promise<UpgradeResult> {
    await sleep(pause, undefined, { signal: hurry }).catch(() => {})
    if (phase.name !== 'replacing') throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
    const begun = performance.now()
    const next = startNext(dead, 'none')
    phase = { name: 'replacing', attempt: phase.attempt, next }
    const result = await whenReady(next, begun)
    takeOver(next)
    dead.release()
    return result
  }

  /** Waits for a generation that was started; one that fails is ended and logged. */
  async function whenReady(next: Generation, begun: number): Promise<UpgradeResult> {
    const { number: generation, pid } = next
    try {
      const unclaimed = await next.ready
      if (isClosing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
      const ms = Math.round(performance.now() - begun)
      log.info({ generation, generationPid: pid, ms, unclaimed }, 'generation ready')
      return { generation, pid, ms }
    } catch (error) {
      next.kill()
      void next.ended.then(() => next.release())
      if (isClosing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING', undefined, { cause: error })
      log.error({ err: error, generation, generationPid: pid }, 'upgrade failed')
      throw error
    }
  }

  function close(signal: NodeJS.Signals | null): Promise<number> {
    if (phase.name === 'closing') return phase.done
    const was = phase
    if (was.name === 'replacing') {
      if ('next' in was) was.next.kill()
      else was.hurry.abort()
    } else if (was.name === 'upgrading') {
      was.next.kill()
    }
    const current = was.name === 'replacing' ? undefined : was.current
    let settle: (code: Promise<number>) => void = () => {}
    const done = new Promise<number>(resolve => {
      settle = resolve
    })
    phase = { name: 'closing', done, ending: [...retiring, ...(current ? [current] : [])] }
    settle(end()) // in this order: what it calls may ask for an upgrade
    return done

    async function end(): Promise<number> {
      const retired = Promise.all([...retiring].map(old => old.close(signal)))
      const { code } = current ? await current.close(signal) : { code: 1 }
      await retired
      return code ?? 1
    }
  }

  function abandon(): void {
    if (phase.name !== 'upgrading') return
    phase.next.kill()
    phase = { name: 'closing', done: Promise.resolve(0), ending: [] }
  }

  function kill(): void {
    if (phase.name === 'closing') for (const generation of phase.ending) generation.kill()
  }

  function isClosing(): boolean {
    return phase.name === 'closing'
  }

  function refuse(error: GracefulUpgradeError): GracefulUpgradeError {
    log.warn({ err: error }, 'upgrade refused')
    return error
  }
}
