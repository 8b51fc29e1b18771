import { sumReports } from '../drain/report.js'
import { GracefulUpgradeError } from '../errors.js'
import type { ConnectionOffer, OfferAnswer } from '../handover/offer.js'
import type { TicketKeys } from '../handover/session-tickets.js'
import type { RawHandle } from '../internals/raw-handle.js'
import type { OpenListener } from '../listeners/address.js'
import type { Log } from '../log.js'
import { wantsProbation } from '../master/boot.js'
import { type Ending, type Generation, mainPid, type Worker } from '../master/generation.js'
import type { BalanceCounts } from '../master/scaling.js'
import type { WorkerStart } from '../master/spawn.js'
import { createKnownTicketKeys } from '../master/ticket-keys.js'
import * as clock from '../time/clock.js'
import { createDeferred } from '../time/deferred.js'
import { bootTeam, type TeamBooting } from './boot.js'
import { createDistribution } from './distribution.js'
import { createEndings, failedToLive, worst } from './endings.js'
import { inheritedFor, listenersOf } from './listeners.js'
import { createRecycling } from './recycling.js'
import { createRoll } from './roll.js'
import { createTeamSize } from './size.js'
import { createSlot, type Slot } from './slot.js'
import { beginWatches } from './watches.js'

export interface TeamSettings {
  readonly log: Log
  /** Whether they are told which they are, also where there is only one. */
  readonly isNumbered: boolean
  /** Starts one of them. */
  start(start: WorkerStart): Worker
  /** Resident set size beyond which one is replaced, in bytes. */
  readonly maxMemory?: number | undefined
  /** Counts what is done to even out their load; undefined where nothing is. */
  readonly balanced?: BalanceCounts | undefined
  /** So many are started at a time. */
  readonly lanes?: number
  /** Worker 0 of the first generation has told all that it listens on when it has been silent for so long, in milliseconds. */
  readonly settleTime?: number
}

/** 'probation': worker 0 serves beside another generation; 'leaving': each goes its way, and none is replaced. */
type Phase = 'booting' | 'probation' | 'serving' | 'leaving'

/** A generation of several workers, which a master takes for one: they share the sockets that they listen on. */
export function startTeam(settings: TeamSettings, start: WorkerStart): Generation {
  const { log } = settings
  const { number } = start
  const roll = createRoll()
  const { slots, current } = roll
  const distribution = createDistribution()
  const recycling = createRecycling(async (worker, reason) => roll.slotOf(worker)?.recycle(reason))
  const ticketKeys = createKnownTicketKeys()
  const endings = createEndings(slots)
  const [dying, ended, failed] = [createDeferred(), createDeferred<Ending>(), createDeferred<never>()]
  const leaving = createDeferred()
  let phase: Phase = 'booting'
  /** What its workers give to another generation that is on probation beside it. */
  let given: number | null = null
  /** What nobody wants of the inherited listeners. */
  let dropped: readonly string[] = []
  /** What goes on while it serves. */
  let watches: { stop(): void } | undefined
  const size = createTeamSize(start.workers ?? 1, {
    log,
    generation: number,
    roll,
    addSlot,
    prepare,
    isServing: () => phase === 'serving'
  })

  /** What is to be done behind worker 0. */
  let bootOthers: TeamBooting['others'] = async () => []
  const ready = Promise.race([failed.promise, firstReady()])
  ready.catch(() => {}) // whoever wants to know waits for it
  return {
    number,
    isHere: false,
    processes: roll.processes,
    ready,
    ended: ended.promise,
    dying: dying.promise,
    leaving: leaving.promise,
    get draining() {
      return Promise.all(roll.all().map(slot => slot.draining()))
    },
    listeners: () => listenersOf(roll.all()),
    connections: roll.connections,
    ticketKeys: async () => (await current()[0]?.ticketKeys()) ?? null,
    get endTimeout() {
      return Math.max(0, ...current().map(worker => worker.endTimeout))
    },
    get probation() {
      return current()[0]?.probation
    },
    probe,
    complete: () => Promise.race([failed.promise, complete()]),
    beside(share) {
      given = share
      if (share !== null) recycling.hold(false) // that may be long
      for (const worker of current()) worker.beside(share)
    },
    tally: roll.tally,
    serve,
    alone() {
      for (const worker of current()) worker.alone()
    },
    scale: size.scale,
    upgrading(value) {
      recycling.hold(value)
      for (const worker of current()) worker.upgrading(value)
    },
    async retire(isUrgent) {
      leave()
      const retirements = (await Promise.all(roll.all().map(slot => slot.retire(isUrgent)))).flat()
      const reports = retirements.flatMap(({ report }) => report ?? [])
      const ending = retirements.length > 0 ? worst(retirements) : endings.last()
      return { ...ending, report: sumReports(reports) ?? null }
    },
    async close(signal) {
      leave()
      return worst((await Promise.all(roll.all().map(slot => slot.close(signal)))).flat())
    },
    hurry: () =>
      roll
        .all()
        .map(slot => slot.hurry())
        .includes(true),
    adopt: (offer, handle) => distribution.give(takers(), offer, handle),
    signal(signal) {
      for (const worker of current()) worker.signal(signal)
    },
    kill() {
      leave()
      for (const slot of roll.all()) slot.kill()
    },
    release() {
      for (const slot of roll.all()) slot.release()
    }
  }

  /** One that goes on probation does so with worker 0 alone. */
  async function firstReady(): Promise<readonly string[]> {
    const { first, others } = bootTeam({
      ...settings,
      workers: size.wanted,
      inherited: start.listeners,
      slots,
      boot: bootSlot
    })
    bootOthers = others
    const unclaimed = await first
    const [worker] = current()
    return start.isCandidate && worker && wantsProbation(worker) ? unclaimed : complete()
  }

  function bootSlot(index: number, listeners: readonly OpenListener[]): Promise<readonly string[]> {
    if (phase === 'serving') throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING') // without it: see `dropUnready()`
    return addSlot(index, listeners).boot()
  }

  async function complete(): Promise<readonly string[]> {
    dropped = await bootOthers()
    if (size.wanted > 1) await prepare() // the keys of worker 0 are for all
    return dropped
  }

  function addSlot(index: number, listeners?: readonly OpenListener[]): Slot {
    if (phase === 'leaving') throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CLOSING')
    slots[index]?.kill() // it has failed, but may not have ended
    slots[index]?.release()
    let born = listeners
    const slot = createSlot({
      index,
      log,
      generation: number,
      isLate: phase === 'serving',
      now: clock.now,
      start() {
        const inherited = born ?? inheritedFor(index, listenersOf(roll.all()))
        born = undefined
        return startOne(index, inherited)
      },
      probe: worker => worker.probe(ticketKeys.get()),
      begin(worker, unwanted) {
        worker.serve(ticketKeys.get(), unwanted)
        if (given !== null) worker.beside(given)
      },
      prepare,
      onReady: (worker, ms) => onReady(index, worker, ms),
      onFailed(worker) {
        if (phase === 'serving') return // one more that fails does the others no harm
        failed.reject(failedToLive(number, index, worker))
        if (phase === 'booting') dying.resolve()
      },
      onDown: (worker, ending) => onDown(slot, worker, ending),
      onEnded(slot, ending) {
        if (ending !== undefined) endings.note(slot, ending)
        endIfOver()
      },
      onRestart: reason => start.onRestart?.(reason),
      onUp: roll.tell,
      onLeaving(worker) {
        if (phase === 'probation') return leaving.resolve()
        roll.tell()
        recycling.add(worker, 'signal')
      }
    })
    slots[index] = slot
    return slot
  }

  function startOne(index: number, listeners: readonly OpenListener[]): Worker {
    const isNumbered = settings.isNumbered || size.wanted > 1 || index > 0
    const worker: Worker = settings.start({
      ...start,
      listeners,
      succeeds: index > 0 || phase === 'serving' ? 'worker' : start.succeeds,
      place: isNumbered ? { worker: index, workers: size.wanted } : undefined,
      onOffer: (offer, handle) => relay(worker, offer, handle)
    })
    return worker
  }

  /** On probation the others don't serve yet. */
  function takers(): readonly Worker[] {
    return phase === 'probation' ? current().slice(0, 1) : current()
  }

  /** To its siblings while they serve on; else to wherever the master says. */
  async function relay(from: Worker, offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    if (phase !== 'serving' || offer.isShare) return start.onOffer(offer, handle)
    const takers = current().filter(worker => worker !== from)
    const answer = await distribution.give(takers, offer, handle)
    if (answer === 'adopted') start.onMoved?.()
    return answer
  }

  /** Whoever serves next has the ticket keys of those that do: the application may have changed them. */
  async function prepare(): Promise<void> {
    const [first] = current()
    if (first !== undefined) await ticketKeys.learnFrom(first)
  }

  function probe(keys: readonly TicketKeys[]): void {
    phase = 'probation'
    ticketKeys.prefer(keys)
    slots[0]?.probe()
  }

  function serve(keys: readonly TicketKeys[]): void {
    dropUnready()
    phase = 'serving'
    ticketKeys.prefer(keys)
    // One of them removes the files of Unix sockets that none wants.
    for (const slot of slots) slot.serve(slot.index === 0 ? dropped : [])
    if (size.wanted > 1) roll.tell()
    watches = beginWatches({ ...settings, generation: number, roll, distribution, recycling })
  }

  /** The generation beside it has died while the others were started: `scale()` starts them anew. */
  function dropUnready(): void {
    const ready = slots.findIndex(({ index, current }) => index > 0 && current() === undefined)
    for (const slot of ready === -1 ? [] : slots.splice(ready)) {
      slot.kill()
      slot.release()
    }
  }

  function onReady(index: number, worker: Worker, ms: number): void {
    if (size.wanted === 1) return
    const pid = mainPid(worker)
    log.info({ generation: number, worker: index, generationPid: pid, ms }, 'worker ready')
    start.onWorkerReady?.(index, pid, ms)
  }

  function onDown(slot: Slot, worker: Worker, ending: Ending): boolean {
    if (phase !== 'serving' && phase !== 'probation') return false
    endings.note(slot, ending)
    if (phase === 'probation' || current().length === 0) {
      leave()
      if (endings.last().code !== 0) dying.resolve()
      return false
    }
    const said = { generation: number, worker: slot.index, generationPid: mainPid(worker), ...ending }
    if (ending.code === 0) log.info(said, 'worker ended by itself')
    else log.error(said, 'worker died')
    roll.tell()
    return true
  }

  function leave(): void {
    phase = 'leaving'
    recycling.stop()
    watches?.stop()
    for (const slot of roll.all()) slot.stop()
    endIfOver()
  }

  function endIfOver(): void {
    if (phase === 'leaving' && roll.all().every(slot => slot.isEmpty())) ended.resolve(endings.last())
  }
}
