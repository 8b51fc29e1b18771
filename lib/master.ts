import { EventEmitter } from 'node:events'
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { now } from './clock.js'
import { type DrainReport, totalFate } from './drain-report.js'
import { GracefulUpgradeError } from './errors.js'
import type { Ending, Generation, Retirement } from './generation.js'
import type { Log } from './log.js'
import type { RawHandle } from './node-internals.js'
import type {
  ConnectionOffer,
  OfferAnswer,
  OpenListener,
  Relay,
  TicketKeys,
  UpgradeResult
} from './protocol.js'
import { createRespawn } from './respawn.js'
import type { WorkerStart } from './worker.js'

/** The process that stays: it starts generations, and knows which one serves. */
export interface Master {
  readonly events: EventEmitter<MasterEvents>
  readonly state: Phase['name']
  /** The one that serves first, then one that boots, then those that drain. */
  generations(): readonly Tenure[]
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

export interface MasterEvents {
  booting: [Generation]
  /** It serves now. */
  ready: [UpgradeResult]
  /** It never will; so long, in milliseconds, after its start. */
  failed: [Generation, GracefulUpgradeError, number]
  /** So long, in milliseconds, after it began to drain. */
  retired: [Generation, Retirement, number]
  /** An upgrade was asked for, and none has begun. */
  refused: [GracefulUpgradeError]
  closing: []
}

/** What a generation is doing. */
export interface Tenure {
  readonly generation: Generation
  readonly state: 'booting' | 'serving' | 'draining'
  /** Since when, by `clock.ts`. */
  readonly since: number
}

export interface MasterOptions {
  /** The generation that serves; or the listeners that the first one is born with, which is started at once. */
  readonly first: Generation | readonly OpenListener[]
  readonly log: Log
  start(next: WorkerStart): Generation
  /** A worker takes over from the generation that ran in this process. */
  onRetire?(): void
  /** Nobody serves any more: the first generation has failed, or the last one has left by itself or is given up. */
  onEnd(code: number): void
}

type Phase =
  | { readonly name: 'starting'; readonly next: Generation }
  | { readonly name: 'serving'; readonly current: Generation }
  | { readonly name: 'upgrading'; readonly current: Generation; readonly next: Generation }
  /** The worker that served has died: a pause, which `hurry` ends, and then `next`. */
  | (Replacing & { readonly hurry: AbortController })
  | (Replacing & { readonly next: Generation })
  | { readonly name: 'closing'; readonly done: Promise<number>; readonly ending: readonly Generation[] }

interface Replacing {
  readonly name: 'replacing'
  readonly attempt: Promise<UpgradeResult>
  /** Its sockets are what the next one inherits. */
  readonly dead: Generation
}

export function createMaster({ first, log, start, onRetire, onEnd }: MasterOptions): Master {
  const events = new EventEmitter<MasterEvents>()
  const retiring = new Set<Generation>()
  const deaths = new WeakMap<Generation, { readonly ending: Ending; readonly served: number }>()
  const since = new WeakMap<Generation, number>()
  let number = 'number' in first ? first.number : 0
  const respawn = createRespawn()
  /** As far as they are known: a dead worker can't be asked. */
  let ticketKeys: readonly TicketKeys[] = []
  let phase: Phase = 'number' in first ? { name: 'serving', current: first } : begin(first)
  if ('number' in first) watch(first)
  return {
    events,
    get state() {
      return phase.name
    },
    generations,
    upgrade,
    relay,
    close,
    abandon,
    kill
  }

  function generations(): Tenure[] {
    const tenure = (state: Tenure['state']) => (generation: Generation) => ({
      generation,
      state,
      since: since.get(generation) ?? 0
    })
    return [
      ...('current' in phase ? [phase.current] : []).map(tenure('serving')),
      ...('next' in phase ? [phase.next] : []).map(tenure('booting')),
      ...[...(phase.name === 'closing' ? phase.ending : retiring)].map(tenure('draining'))
    ]
  }

  /** Nothing serves yet: whoever has started this process wants to know at once if nothing will. */
  function begin(inherited: readonly OpenListener[]): Phase {
    const next = startNext(inherited, 'none')
    whenReady(next, now(), { failure: 'start failed' }).then(
      () => takeOver(next),
      async () => {
        if (isClosing()) return
        const { code, signal } = await next.ended
        if (!isClosing()) onEnd(code === null ? signalCode(signal) : code || 1)
      }
    )
    return { name: 'starting', next }
  }

  async function upgrade(): Promise<UpgradeResult> {
    switch (phase.name) {
      case 'closing':
        throw refuse(new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING'))
      case 'starting':
      case 'upgrading':
        throw refuse(new GracefulUpgradeError('GRACEFUL_UPGRADE_IN_PROGRESS'))
      case 'replacing':
        if ('next' in phase) throw refuse(new GracefulUpgradeError('GRACEFUL_UPGRADE_IN_PROGRESS'))
        phase.hurry.abort()
        return phase.attempt
    }
    const { current } = phase
    const begun = now()
    const next = startNext(current.listeners(), current.pid === process.pid ? 'master' : 'worker')
    phase = { name: 'upgrading', current, next }
    current.upgrading(true)
    try {
      const result = await whenReady(next, begun, { old: current })
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

  function startNext(listeners: readonly OpenListener[], succeeds: WorkerStart['succeeds']): Generation {
    try {
      const next = start({ number: ++number, listeners, succeeds, onUpgrade: upgrade, onOffer: relay })
      since.set(next, now())
      events.emit('booting', next)
      return next
    } catch (cause) {
      const { message } = cause as Error
      const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', message, { cause })
      log.error({ err: error, generation: number }, 'upgrade failed')
      events.emit('refused', error)
      throw error
    }
  }

  /** To whoever serves now, which may be a later generation than the one that the offering one made way for. */
  function relay(offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    if (phase.name === 'closing') return Promise.resolve('refused')
    if (!('current' in phase)) return Promise.resolve('unavailable')
    return phase.current.adopt(offer, handle)
  }

  function takeOver(next: Generation): void {
    next.serve(ticketKeys)
    phase = { name: 'serving', current: next }
    watch(next)
    void learnTicketKeys(next) // in case that it dies
  }

  async function learnTicketKeys(generation: Generation): Promise<void> {
    const known = await generation.ticketKeys()
    if (known !== null) ticketKeys = known
  }

  function retire(old: Generation): void {
    const begun = now()
    retiring.add(old)
    since.set(old, begun)
    if (old.pid === process.pid) onRetire?.()
    void old.retire().then(retirement => {
      const { code, signal, report } = retirement
      const ms = Math.round(now() - begun)
      const { number: generation, pid: generationPid } = old
      log.info(
        { generation, generationPid, ms, code, signal, ...(report && describeReport(report)) },
        'generation retired'
      )
      retiring.delete(old)
      old.release()
      events.emit('retired', old, retirement, ms)
    })
  }

  function watch(generation: Generation): void {
    const begun = now()
    since.set(generation, begun)
    const onDeath = (ending: Ending) => {
      if (deaths.has(generation)) return
      deaths.set(generation, { ending, served: now() - begun })
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
    respawn.died(death.served)
    log.error(
      { generation: generation.number, generationPid: generation.pid, code, signal },
      'generation died'
    )
    retiring.add(generation) // it may drain yet
    void generation.ended.then(() => retiring.delete(generation))
    replace(generation)
  }

  function replace(dead: Generation): void {
    const pause = respawn.nextPause()
    if (pause === undefined) return giveUp()
    const hurry = new AbortController()
    const attempt = replaceAfter(pause, dead, hurry.signal)
    phase = { name: 'replacing', attempt, hurry, dead }
    attempt.catch(() => {
      if (!isClosing()) replace(dead)
    })
  }

  function giveUp(): void {
    const detail = `${respawn.attempts} attempts in a row; look for the reason in the lines above, and start it again`
    log.fatal({ err: new GracefulUpgradeError('GRACEFUL_UPGRADE_GAVE_UP', detail) }, 'given up')
    void close(null).then(() => onEnd(1))
  }

  async function replaceAfter(pause: number, dead: Generation, hurry: AbortSignal): Promise<UpgradeResult> {
    await sleep(pause, undefined, { signal: hurry }).catch(() => {})
    if (phase.name !== 'replacing') throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
    const begun = now()
    const next = startNext(dead.listeners(), 'none')
    phase = { name: 'replacing', attempt: phase.attempt, next, dead }
    const result = await whenReady(next, begun)
    takeOver(next)
    dead.release()
    return result
  }

  /** Waits for a generation that was started; one that fails is ended and logged. */
  async function whenReady(
    next: Generation,
    begun: number,
    { old, failure = 'upgrade failed' }: { old?: Generation; failure?: string } = {}
  ): Promise<UpgradeResult> {
    const { number: generation, pid } = next
    try {
      const unclaimed = await next.ready
      const ms = Math.round(now() - begun)
      // Not earlier: the application may have other ones by now.
      if (old !== undefined) await Promise.race([learnTicketKeys(old), failsToLive(next)])
      if (isClosing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
      const result = { generation, pid, ms }
      events.emit('ready', result)
      log.info({ generation, generationPid: pid, ms, unclaimed }, 'generation ready')
      return result
    } catch (error) {
      events.emit('failed', next, error as GracefulUpgradeError, Math.round(now() - begun))
      if (phase.name !== 'closing' || !phase.ending.includes(next)) next.kill()
      void next.ended.then(() => next.release())
      if (isClosing()) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING', undefined, { cause: error })
      log.error({ err: error, generation, generationPid: pid }, failure)
      throw error
    }
  }

  /** Rejects when a generation dies that was ready, but serves nothing yet. */
  async function failsToLive({ number: generation, pid, ended, dying }: Generation): Promise<never> {
    await Promise.race([ended, dying])
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', `generation ${generation} (pid ${pid}) ended`)
  }

  function close(signal: NodeJS.Signals | null): Promise<number> {
    if (phase.name === 'closing') return phase.done
    const was = phase
    // The first generation may have clients before it is ready: what it listens on is its own.
    const current = 'current' in was ? was.current : was.name === 'starting' ? was.next : undefined
    if ('next' in was && was.next !== current) was.next.kill()
    if ('hurry' in was) was.hurry.abort()
    let settle: (code: Promise<number>) => void = () => {}
    const done = new Promise<number>(resolve => {
      settle = resolve
    })
    const ending = [...retiring, ...(current ? [current] : [])]
    phase = { name: 'closing', done, ending }
    const holders = 'dead' in was ? [...ending, was.dead] : ending
    for (const generation of holders) generation.release() // else clients would wait here for nobody
    events.emit('closing')
    settle(end()) // in this order: what it calls may ask for an upgrade
    return done

    async function end(): Promise<number> {
      const retired = Promise.all([...retiring].map(old => old.close(signal)))
      const last = await current?.close(signal)
      await retired
      return last?.code ?? (was.name === 'starting' ? 0 : 1)
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
    events.emit('refused', error)
    return error
  }
}

function describeReport({ refused, longestPause, kinds }: DrainReport): object {
  return { ...totalFate({ kinds }), refused, longestPause }
}

/** What a shell says of a process that a signal has ended; 1 where this process itself ended it. */
function signalCode(signal: NodeJS.Signals | null): number {
  return signal === null || signal === 'SIGKILL' ? 1 : 128 + constants.signals[signal]
}
