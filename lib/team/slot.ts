import { GracefulUpgradeError } from '../errors.js'
import type { OpenListener } from '../listeners/address.js'
import type { Log } from '../log.js'
import type { RestartReason } from '../master/events.js'
import {
  type Ending,
  type GenerationProcess,
  mainPid,
  type Retirement,
  type Worker
} from '../master/generation.js'
import { outcomeOf } from '../master/retire.js'
import { createDeferred } from '../time/deferred.js'
import { createSuccession } from './succession.js'

/** The place of one worker in a team. */
export interface Slot {
  readonly index: number
  /** The one that serves there, or is ready to; it may be asked to make way. */
  current(): Worker | undefined
  /** Whether a signal has asked that to end. */
  isLeaving(): boolean
  /** For how long that has served, in milliseconds. */
  served(): number
  /** All that are there: a dead one's successor, one that drains yet. */
  processes(): GenerationProcess[]
  /** The newest one, also when it has ended. */
  lastProcesses(): GenerationProcess[]
  /** What its workers listen on, or have listened on. */
  listeners(): OpenListener[]
  /**
   * Starts its first worker.
   * @returns what that didn't claim, once it is ready
   * @throws GRACEFUL_UPGRADE_SPAWN_FAILED
   */
  boot(): Promise<readonly string[]>
  /** Its worker serves beside another generation. */
  probe(): void
  /** The team serves: so does this one, and its successors. */
  serve(dropped: readonly string[]): void
  /** Starts a successor, which takes over when it is ready; resolves when the one before it has ended, or nobody follows. */
  recycle(reason: RestartReason): Promise<void>
  /** Lets all that are there drain and end, for others that serve. */
  retire(isUrgent?: boolean): Promise<readonly Retirement[]>
  close(signal: NodeJS.Signals | null): Promise<readonly Ending[]>
  /** @returns whether the `closeDelay` of one of those that are there was under way */
  hurry(): boolean
  /** No one follows any more, and none of those that are there is to be replaced. */
  stop(): void
  isEmpty(): boolean
  /** Resolves when all that are there know that they go. */
  draining(): Promise<unknown>
  kill(): void
  release(): void
}

export interface SlotOptions {
  readonly index: number
  readonly log: Log
  readonly generation: number
  /** Whether others serve already. */
  readonly isLate: boolean
  /** Starts a worker for this place. */
  start(): Worker
  /** Its worker is to serve beside another generation. */
  probe(worker: Worker): void
  /** What a successor is given to serve with. */
  begin(worker: Worker, dropped: readonly string[]): void
  /** Its worker fails before it serves. */
  onFailed(worker: Worker): void
  /**
   * The one that served there has ended, or is about to, and was not told to.
   * @returns whether another one shall take its place
   */
  onDown(worker: Worker, ending: Ending): boolean
  /** Another one is started in the place of one that served. */
  onRestart(reason: RestartReason): void
  /** One of its workers has ended, for whatever reason; undefined for a successor that has never served. */
  onEnded(slot: Slot, ending: Ending | undefined): void
  /** Is waited for before a successor serves. */
  prepare(): Promise<void>
  /** Another one serves there. */
  onUp(): void
  onReady(worker: Worker, ms: number): void
  /** A signal has asked the one that serves there to end. */
  onLeaving(worker: Worker): void
  now(): number
}

export function createSlot(options: SlotOptions): Slot {
  const { index, log, generation, now, begin, prepare, onReady } = options
  /** All of this place that have not ended. */
  const alive = new Set<Worker>()
  /** Those whose listeners are open here. */
  const held = new Set<Worker>()
  /** Those that have never served while others do. */
  const successors = new WeakSet<Worker>()
  const succession = createSuccession({
    ...{ log, generation, worker: index, now, prepare, onReady, takeOver },
    spawn() {
      const next = spawn()
      successors.add(next)
      return next
    },
    onFailed: release
  })
  let state: 'booting' | 'ready' | 'serving' = 'booting'
  let current: Worker | undefined
  let newest: Worker | undefined
  let leaving: Worker | undefined
  let since = 0
  let restarts = 0
  const slot: Slot = {
    index,
    current: () => (state === 'booting' ? undefined : current),
    isLeaving: () => current !== undefined && current === leaving,
    served: () => (state === 'serving' ? now() - since : 0),
    processes: () => [...alive].flatMap(processesOf),
    lastProcesses: () => (newest ? processesOf(newest) : []),
    listeners: () => [...held].flatMap(worker => worker.listeners()),
    boot,
    probe() {
      takeUp()
      if (current !== undefined) options.probe(current)
    },
    serve(dropped) {
      takeUp()
      if (current !== undefined) begin(current, dropped)
    },
    recycle,
    stop,
    isEmpty: () => alive.size === 0,
    draining: () => Promise.all([...alive].map(worker => worker.draining)),
    retire(isUrgent) {
      stop()
      return endingsOf(worker => worker.retire(isUrgent))
    },
    close(signal) {
      stop()
      return endingsOf(worker => worker.close(signal))
    },
    hurry: () => [...alive].map(worker => worker.hurry()).includes(true),
    kill() {
      stop()
      for (const worker of alive) worker.kill()
    },
    release() {
      for (const worker of held) release(worker)
    }
  }
  return slot

  function takeUp(): void {
    state = 'serving'
    since = now()
    if (current !== undefined) successors.delete(current)
  }

  function processesOf(worker: Worker): GenerationProcess[] {
    return worker.processes().map(each => ({ ...each, worker: index, restarts }))
  }

  function stop(): void {
    succession.stop()
    current = undefined
  }

  /** Not of those that have never served: to kill them is no failure. */
  async function endingsOf<Each>(end: (worker: Worker) => Promise<Each>): Promise<Each[]> {
    const workers = [...alive]
    const endings = await Promise.all(workers.map(end))
    return endings.filter((_ending, at) => !successors.has(workers[at] as Worker))
  }

  function boot(): Promise<readonly string[]> {
    const worker = spawn()
    if (options.isLate) successors.add(worker)
    current = worker
    const begun = now()
    return worker.ready.then(unclaimed => {
      state = 'ready'
      onReady(worker, Math.round(now() - begun))
      return unclaimed
    })
  }

  function spawn(): Worker {
    const worker = startOne()
    newest = worker
    alive.add(worker)
    held.add(worker)
    void worker.ended.then(ending => {
      alive.delete(worker)
      onEnd(worker, ending)
      options.onEnded(slot, successors.has(worker) ? undefined : ending)
    })
    void worker.dying.then(() => onEnd(worker, { code: 1, signal: null }))
    void worker.leaving.then(() => {
      if (worker !== current) return
      leaving = worker
      options.onLeaving(worker)
    })
    return worker
  }

  function startOne(): Worker {
    try {
      return options.start()
    } catch (cause) {
      if (cause instanceof GracefulUpgradeError) throw cause
      throw new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', (cause as Error).message, { cause })
    }
  }

  function onEnd(worker: Worker, ending: Ending): void {
    if (worker !== current) return
    current = undefined
    if (state === 'ready') options.onFailed(worker)
    if (state !== 'serving') return
    succession.served(now() - since)
    if (!options.onDown(worker, ending) || succession.isUnderWay()) return
    options.onRestart(ending.code === 0 ? 'ended' : 'died')
    succession.begin(worker, 'death')
  }

  function recycle(reason: RestartReason): Promise<void> {
    const old = current
    if (old === undefined || succession.isUnderWay()) return Promise.resolve()
    const over = createDeferred()
    void old.ended.then(() => over.resolve())
    options.onRestart(reason)
    succession.begin(old, 'wish')
    return over.promise
  }

  function takeOver(old: Worker, next: Worker): void {
    const makesWay = old === current
    current = next
    successors.delete(next)
    if (makesWay) succession.served(now() - since) // of one that has died that was said at its death
    since = now()
    restarts++
    begin(next, [])
    options.onUp()
    void old.draining.then(next.alone)
    held.delete(old) // the succession releases it
    if (makesWay) void retireOne(old)
  }

  async function retireOne(old: Worker): Promise<void> {
    const retirement = await old.retire()
    const name = { generation, worker: index, generationPid: mainPid(old) }
    log.info({ ...name, ...outcomeOf(retirement) }, 'worker retired')
  }

  function release(worker: Worker): void {
    worker.release()
    held.delete(worker)
  }
}
