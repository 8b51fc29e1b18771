import { EventEmitter } from 'node:events'
import type { ConnectionCounts } from '../connections/state.js'
import type { HoldUp } from '../drain/hold-up.js'
import type { DrainReport } from '../drain/report.js'
import { GracefulUpgradeError, isErrorCode, receivedError } from '../errors.js'
import type { Relay } from '../handover/offer.js'
import { createOfferChannel } from '../handover/offer-channel.js'
import type { TicketKeys } from '../handover/session-tickets.js'
import type { RawHandle } from '../internals/raw-handle.js'
import type { Listener } from '../listeners/listeners.js'
import type { Judge } from '../master/generation.js'
import { type ChannelEnd, openChannel } from '../protocol/channel.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import type { EndTimes } from '../protocol/end-times.js'
import type { Inquire } from '../protocol/inquire.js'
import type { LogLine } from '../protocol/log-line.js'
import type { WorkerMessage } from '../protocol/messages.js'
import type { ProbationTerms, Tally } from '../protocol/probation.js'
import { readMasterMessage } from '../protocol/read-message.js'
import type { Shared, ShareRequest, TeamNews } from '../protocol/team.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { createPending } from '../time/pending.js'
import { usage } from './usage.js'

/** The child's side of its master; `worker.ts` is the other. */
export interface Parent
  extends EventEmitter<{
    ticketKeys: [readonly TicketKeys[]]
    serve: [dropped: readonly string[] | undefined]
    probe: []
    beside: [share: number | null]
    alone: []
    team: [TeamNews]
    upgrading: [boolean]
    log: [LogLine]
    retire: [isUrgent: boolean]
    close: [NodeJS.Signals | null]
    /** The answer may take its time. */
    share: [ShareRequest, answer: (shared: Shared) => void]
    lost: []
  }> {
  isConnected(): boolean
  /** Keeps the process alive: inherited listeners do so only when they accept. */
  keepAlive(value: boolean): void
  /**
   * Gives the master a listener to hold.
   * @param times how long the end of this process may take from now on
   */
  publish(listener: Listener, handle: RawHandle, times: EndTimes): void
  withdraw(listener: Listener): void
  /** Resolves when the master has been told, or can't be any more: what is asked may stop this process for ever. */
  asks(request: string): Promise<void>
  unchecked(failure: CheckFailure): void
  /** @param times as in `publish()` */
  ready(
    unclaimed: readonly string[],
    published: readonly string[],
    times: EndTimes,
    probation: ProbationTerms
  ): void
  /** A request was answered with 5xx, while two generations serve. */
  erred(): void
  dying(): void
  leaving(): void
  draining(): void
  /** Resolves when the master has been told, or can't be any more. */
  drained(report: DrainReport): Promise<void>
  /** Asks the master for an upgrade; rejects with its code. */
  upgrade(): Promise<UpgradeResult>
  /** Says what is to become of a generation on probation; rejects with its code. */
  readonly judge: Judge
  /** Asks the master for what it knows of the whole service; rejects with its code, or where it doesn't answer in time. */
  readonly inquire: Inquire
  /** Offers a connection to the generation that serves now. */
  readonly offer: Relay
}

/** How long the master may take to tell of the service, in milliseconds: it asks each worker, for a second at most. */
const inquiryTime = 5_000

/** What a master is told when it asks. */
export interface Answers {
  count(): ConnectionCounts
  /** What its drain waits for. */
  heldUpBy(): readonly HoldUp[]
  /** The keys of the session tickets. */
  reveal(): readonly TicketKeys[]
  tally(): Tally
}

/**
 * @param take what becomes of a connection that an older generation offers; the handle is its own then
 * @param end what leads to the master
 */
export function connectParent(
  take: Relay,
  { count, heldUpBy, reveal, tally }: Answers,
  end: ChannelEnd = process
): Parent {
  const channel = openChannel<WorkerMessage>(end)
  const { send } = channel
  const offers = createOfferChannel(send, take)
  /** What the application has asked for. */
  const asked = createPending<unknown>()
  const events: Parent = Object.assign(new EventEmitter(), {
    isConnected: channel.isOpen,
    keepAlive: channel.keepAlive,
    publish: ({ server, ...listener }: Listener, handle: RawHandle, times: EndTimes) =>
      send({ type: 'listener', listener, ...times }, handle),
    withdraw: ({ key }: Listener) => send({ type: 'unlisten', key }),
    asks: (request: string) => tell({ type: 'asks', request }),
    unchecked: (failure: CheckFailure) => send({ type: 'unchecked', failure }),
    ready: (
      unclaimed: readonly string[],
      published: readonly string[],
      times: EndTimes,
      probation: ProbationTerms
    ) => send({ type: 'ready', unclaimed, published, ...times, probation, logs: true }),
    erred: () => send({ type: 'erred' }),
    dying: () => send({ type: 'dying' }),
    leaving: () => send({ type: 'leaving' }),
    draining: () => send({ type: 'draining' }),
    drained,
    async upgrade() {
      if (!channel.isOpen()) throw lost()
      return asked.ask(id => send({ type: 'upgrade', id })) as Promise<UpgradeResult>
    },
    async judge(verdict: Parameters<Judge>[0], reason: string) {
      if (!channel.isOpen()) throw lost()
      await asked.ask(id => send({ type: 'judge', id, verdict, reason }))
    },
    async inquire(about: Parameters<Inquire>[0]) {
      if (!channel.isOpen()) throw lost()
      const limit = { ms: inquiryTime, answer: undefined }
      const answer = await asked.ask(id => send({ type: 'inquire', id, about }), limit)
      if (answer === undefined) throw silent()
      return answer
    },
    offer: offers.offer
  }) as Parent

  channel.hear(onMessage)
  void channel.lost.then(onLost)
  channel.keepAlive(false) // a worker whose application has closed everything may end by itself
  return events

  async function drained(report: DrainReport): Promise<void> {
    channel.keepAlive(true) // nothing else may keep the process alive any more
    await tell({ type: 'drained', report })
  }

  async function tell(message: WorkerMessage): Promise<void> {
    const sent = new Promise<void>(resolve => send(message, undefined, () => resolve()))
    await Promise.race([sent, channel.lost])
  }

  function onMessage(message: unknown, handle: RawHandle | undefined): void {
    const said = readMasterMessage(message)
    if (said === undefined || said === 'unknown') return
    switch (said.type) {
      case 'serve':
        return void events.emit('serve', said.dropped)
      case 'team':
        return void events.emit('team', said)
      case 'alone':
      case 'probe':
        return void events.emit(said.type)
      case 'beside':
        return void events.emit('beside', said.share)
      case 'retire':
        return void events.emit('retire', said.isUrgent === true)
      case 'offer':
      case 'offered':
      case 'answer':
        return offers.receive(said, handle)
      case 'count':
        return send({
          type: 'counted',
          id: said.id,
          connections: count(),
          ...(said.isNamed && { heldUpBy: heldUpBy() })
        })
      case 'measure':
        return send({ type: 'measured', id: said.id, usage: usage() })
      case 'share': {
        const { id, share, how } = said
        return void events.emit('share', { share, how }, shared => send({ type: 'shared', id, shared }))
      }
      case 'reveal':
        return send({ type: 'revealed', id: said.id, ticketKeys: reveal() })
      case 'tally':
        return send({ type: 'tallied', id: said.id, tally: tally() })
      case 'ticketKeys':
        return void events.emit('ticketKeys', said.ticketKeys)
      case 'upgrading':
        return void events.emit('upgrading', said.value)
      case 'log':
        events.emit('log', said)
        return send({ type: 'logged', id: said.id })
      case 'close':
        return void events.emit('close', said.signal)
      case 'upgraded':
        return asked.answer(said.id, said.result)
      case 'informed':
        return asked.answer(said.id, said.answer)
      case 'judged':
        return asked.answer(said.id, undefined)
      case 'refused': {
        const code = isErrorCode(said.code) ? said.code : 'GRACEFUL_UPGRADE_MASTER_LOST'
        return asked.refuse(said.id, receivedError(code, said.message, said.lastWords))
      }
    }
  }

  function onLost(): void {
    asked.refuseAll(lost())
    offers.close('lost')
    events.emit('lost')
  }
}

function silent(): GracefulUpgradeError {
  const detail = `within ${inquiryTime} ms; if it is of an older version of this package, restart the server once`
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', detail)
}

function lost(): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', 'it went away')
}
