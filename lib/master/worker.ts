import type { DrainReport } from '../drain/report.js'
import { GracefulUpgradeError } from '../errors.js'
import { isAdoptedHere } from '../handover/adopt.js'
import type { ConnectionOffer, OfferAnswer } from '../handover/offer.js'
import { createOfferChannel } from '../handover/offer-channel.js'
import type { TicketKeys } from '../handover/session-tickets.js'
import type { RawHandle } from '../internals/raw-handle.js'
import { type EndTimes, exitTime } from '../protocol/end-times.js'
import { typeOf } from '../protocol/envelope.js'
import type { MasterMessage } from '../protocol/messages.js'
import type { ProbationTerms } from '../protocol/probation.js'
import { readWorkerMessage } from '../protocol/read-message.js'
import { tellDelay } from '../signals/on-close.js'
import { createDeferred } from '../time/deferred.js'
import { afterReading } from '../time/event-loop.js'
import type { Ending, GenerationProcess, Worker } from './generation.js'
import { createHeldListeners } from './held-listeners.js'
import { createQuestions } from './questions.js'
import { type Spawn, spawnWorker, type WorkerSettings, type WorkerStart } from './spawn.js'
import { watchStartUp } from './start-up.js'

/** A worker by what it has said of itself. */
type Life =
  /** Nothing of it listens: it may end at once. */
  | { readonly name: 'booting' }
  | {
      readonly name: 'listening'
      /** How long its end may take. */
      readonly times: EndTimes
      /** What has become of its connections, once it has drained. */
      readonly report: DrainReport | null
    }

/**
 * Starts a generation in a child process; the master's side of it. `parent.ts` is the other.
 * @param run starts the process
 */
export function startWorker(settings: WorkerSettings, start: WorkerStart, run?: Spawn): Worker {
  const { log, readyTimeout } = settings
  const { number, place } = start
  const child = spawnWorker(settings, start, run)
  const { pid, channel, ended, gone } = child
  const { send } = channel
  const held = createHeldListeners()
  const offers = createOfferChannel(send, takeOffer)
  const questions = createQuestions(channel)
  const { connections, heldUpBy, load } = questions
  const [dying, draining, leaving] = [createDeferred(), createDeferred(), createDeferred()]
  let unclaimed: readonly string[] = []
  let probation: ProbationTerms | undefined
  /** Whether it logs lines, and is there yet. */
  let takesLines = false
  let life: Life = { name: 'booting' }
  let state: GenerationProcess['state'] = 'booting'
  /** It has said so. */
  let drains = false
  const startUp = watchStartUp(child, {
    name: nameOfStart(start),
    readyTimeout,
    hasListened: () => life.name === 'listening'
  })

  channel.hear(onMessage)
  void ended.then(() => {
    takesLines = false
  })
  void gone.then(() => {
    if (state === 'closing') state = 'draining'
    offers.close('unavailable')
    questions.over()
  })
  const name = { generation: number, ...workerOf(start), generationPid: pid }
  if (pid !== 0) log.info(name, 'generation spawned')

  return {
    number,
    isHere: false,
    processes: () =>
      pid === 0 ? [] : [{ worker: place?.worker ?? 0, pid, state, restarts: 0, connections, heldUpBy, load }],
    ready: startUp.ready,
    ended,
    dying: dying.promise,
    draining: Promise.race([draining.promise, ended]),
    leaving: leaving.promise,
    listeners: held.open,
    connections,
    ticketKeys: questions.ticketKeys,
    get endTimeout() {
      return life.name === 'listening' ? life.times.endTimeout + exitTime : 0
    },
    get probation() {
      return probation
    },
    probe(ticketKeys) {
      state = 'probation'
      giveKeys(ticketKeys)
      send({ type: 'probe' })
    },
    complete: async () => {},
    beside: share => send({ type: 'beside', share }),
    tally: questions.tally,
    serve(ticketKeys, dropped = unclaimed) {
      state = 'serving'
      giveKeys(ticketKeys)
      send({ type: 'serve', dropped })
    },
    alone: () => send({ type: 'alone' }),
    tellTeam: team => send({ type: 'team', ...team }),
    load,
    upgrading: value => send({ type: 'upgrading', value }),
    async retire(isUrgent = false) {
      state = 'draining'
      const ending = await end({ type: 'retire', isUrgent })
      await gone
      return { ...ending, report: life.name === 'listening' ? life.report : null }
    },
    close(signal) {
      const closeDelay = lingers()
      state = closeDelay > 0 ? 'closing' : 'draining'
      if (closeDelay > 0) tellDelay(log, { ...name, closeDelay })
      return end({ type: 'close', signal })
    },
    hurry() {
      if (state !== 'closing') return false
      state = 'draining'
      send({ type: 'close', signal: null })
      return true
    },
    log(line) {
      return takesLines && channel.isOpen() ? questions.log(line) : undefined
    },
    adopt: offers.offer,
    share: questions.share,
    signal: child.kill,
    kill: () => child.kill('SIGKILL'),
    release: held.release
  }

  function onMessage(message: unknown, handle: RawHandle | undefined): void {
    const said = readWorkerMessage(message)
    if (said === undefined) return // the application's own
    if (said === 'unknown')
      return log.warn({ generation: number, type: typeOf(message) }, 'unknown message of a worker')
    switch (said.type) {
      case 'listener':
        if (said.endTimeout !== undefined) listens(said.endTimeout, said.closeDelay)
        if (!held.hold(said.listener, handle))
          log.warn({ generation: number, listener: said.listener }, 'listener arrived without its socket')
        return
      case 'unlisten':
        return held.drop(said.key)
      case 'asks':
        return startUp.unchecked({ request: said.request, outcome: 'has not been answered yet', body: '' })
      case 'unchecked':
        startUp.unchecked(said.failure)
        return start.onUnchecked?.(workerOf(start).worker, said.failure)
      case 'ready': {
        const lost = held.missing(said.published ?? [])
        if (lost.length > 0) return startUp.fail(noDescriptorFor(lost))
        listens(said.endTimeout, said.closeDelay)
        unclaimed = said.unclaimed
        probation = said.probation
        takesLines = said.logs === true
        return startUp.succeed(unclaimed)
      }
      case 'drained':
        if (life.name === 'listening') life = { ...life, report: said.report }
        return
      case 'dying':
        return dying.resolve()
      case 'draining':
        return onDraining()
      case 'leaving':
        return leaving.resolve()
      case 'offer':
      case 'offered':
      case 'answer':
        return offers.receive(said, handle)
      case 'counted':
      case 'revealed':
      case 'measured':
      case 'shared':
      case 'tallied':
      case 'logged':
        return questions.answer(said)
      case 'upgrade':
        return void answer(said.id, async () => {
          send({ type: 'upgraded', id: said.id, result: await start.onUpgrade() })
        })
      case 'judge':
        return void answer(said.id, async () => {
          await start.onJudge(said.verdict, said.reason)
          send({ type: 'judged', id: said.id })
        })
      case 'inquire':
        return void answer(said.id, async () => {
          send({ type: 'informed', id: said.id, answer: await start.onInquire(said.about) })
        })
      case 'erred':
        return start.onErred?.()
    }
  }

  function listens(endTimeout: number, closeDelay = 0): void {
    life = { report: null, ...life, name: 'listening', times: { endTimeout, closeDelay } }
  }

  /** For how long it serves on when it is told to close, in milliseconds. */
  function lingers(): number {
    const { closeDelay = 0 } = life.name === 'listening' ? life.times : {}
    return state === 'draining' || drains ? 0 : closeDelay
  }

  function onDraining(): void {
    drains = true
    if (state === 'closing') state = 'draining'
    draining.resolve()
  }

  function giveKeys(ticketKeys: readonly TicketKeys[]): void {
    if (ticketKeys.length > 0) send({ type: 'ticketKeys', ticketKeys })
  }

  /** What the application has asked for. */
  async function answer(id: number, call: () => Promise<void>): Promise<void> {
    try {
      await call()
    } catch (error) {
      const { code, message, lastWords } = error as GracefulUpgradeError
      send({ type: 'refused', id, code, message, ...(lastWords !== undefined && { lastWords }) })
    }
  }

  /** The answer comes when the connection has arrived elsewhere: until then this process's copy is needed. */
  async function takeOffer(offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    const answer = await start.onOffer(offer, handle)
    if (!isAdoptedHere(handle)) handle.close()
    return answer
  }

  /** Its own way out, within the time that it asked for; one of which nothing listens ends at once. */
  async function end(message: MasterMessage): Promise<Ending> {
    if (life.name === 'booting') {
      child.kill('SIGKILL')
      return ended
    }
    const { endTimeout, closeDelay = 0 } = life.times
    const ms = endTimeout - (message.type === 'close' ? 0 : closeDelay) + exitTime
    send(message)
    const stopWaiting = afterReading(ms, () => {
      log.error({ ...name, ms }, 'generation does not end, killing it')
      child.kill('SIGKILL')
    })
    return ended.finally(stopWaiting)
  }
}

/** In logs, where there are several. */
function workerOf({ place }: WorkerStart): { readonly worker?: number } {
  return place && place.workers > 1 ? { worker: place.worker } : {}
}

/** In an error. */
function nameOfStart(start: WorkerStart): string {
  const { worker } = workerOf(start)
  return worker === undefined
    ? `generation ${start.number}`
    : `worker ${worker} of generation ${start.number}`
}

/** At its descriptor limit the system drops a socket: the generation after this one could not inherit it. */
function noDescriptorFor(keys: readonly string[]): GracefulUpgradeError {
  const detail = `the master has no descriptor left for ${keys.join(', ')}: raise its limit (ulimit -n)`
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', detail)
}
