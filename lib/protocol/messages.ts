import type { ConnectionCounts } from '../connections/state.js'
import type { HoldUp } from '../drain/hold-up.js'
import type { DrainReport } from '../drain/report.js'
import type { OfferMessage } from '../handover/offer.js'
import type { TicketKeys } from '../handover/session-tickets.js'
import type { ListenerAddress } from '../listeners/address.js'
import type { CheckFailure } from './check-failure.js'
import type { EndTimes } from './end-times.js'
import type { Inquire } from './inquire.js'
import type { LogLine } from './log-line.js'
import type { ProbationTerms, Tally } from './probation.js'
import type { Shared, ShareRequest, TeamNews } from './team.js'
import type { UpgradeResult } from './upgrade-result.js'
import type { Usage } from './usage.js'

/** From a worker to its master. */
export type WorkerMessage =
  | OfferMessage
  /**
   * A listener of this worker; its socket comes with the message. From now on its end may take so long; an older version says so only
   * when it is ready.
   */
  | ({ readonly type: 'listener'; readonly listener: ListenerAddress } & Partial<EndTimes>)
  /** The worker closed it, and does not want it kept open. */
  | { readonly type: 'unlisten'; readonly key: string }
  /** It listens, and asks itself this: if it says no more, that is why it isn't ready. */
  | { readonly type: 'asks'; readonly request: string }
  /** It listens, but its check has not passed. */
  | { readonly type: 'unchecked'; readonly failure: CheckFailure }
  /** It can serve. */
  | ({
      readonly type: 'ready'
      /** These inherited listeners nobody asked for. */
      readonly unclaimed: readonly string[]
      /** It has sent these, of which the system may have dropped some on the way; an older version doesn't say so. */
      readonly published?: readonly string[]
      /** Of an older version, which doesn't know what to do when two generations serve, there is none. */
      readonly probation?: ProbationTerms
      /** It takes lines for its log; an older version doesn't. */
      readonly logs?: boolean
    } & EndTimes)
  /** What has become of its connections; it exits now. */
  | { readonly type: 'drained'; readonly report: DrainReport }
  /** An uncaught error: it drains and will exit, let another one take its place. */
  | { readonly type: 'dying' }
  /** SIGHUP came to the worker, or the application called `upgrade()`. */
  | { readonly type: 'upgrade'; readonly id: number }
  | {
      readonly type: 'counted'
      readonly id: number
      readonly connections: ConnectionCounts
      /** If it was asked for names. */
      readonly heldUpBy?: readonly HoldUp[]
    }
  | { readonly type: 'revealed'; readonly id: number; readonly ticketKeys: readonly TicketKeys[] }
  | { readonly type: 'measured'; readonly id: number; readonly usage: Usage }
  /** A signal asks this worker alone to end: let another one take its place, and then say 'retire'. */
  | { readonly type: 'leaving' }
  /** Its drain has begun: the application has been told, and has stopped what only one may do. */
  | { readonly type: 'draining' }
  | { readonly type: 'tallied'; readonly id: number; readonly tally: Tally }
  /** The line of the master is in its log. */
  | { readonly type: 'logged'; readonly id: number }
  /** A response of 500 or above, while two generations serve. */
  | { readonly type: 'erred' }
  /** The application says what is to become of a generation on probation. */
  | {
      readonly type: 'judge'
      readonly id: number
      readonly verdict: 'confirm' | 'rollback'
      readonly reason: string
    }
  /** The application wants to know something of the whole service. */
  | { readonly type: 'inquire'; readonly id: number; readonly about: Parameters<Inquire>[0] }
  /** So many of its connections have gone elsewhere, since it was asked to share. */
  | { readonly type: 'shared'; readonly id: number; readonly shared: Shared }

/** From a master to its worker. */
export type MasterMessage =
  | OfferMessage
  /** From now on this generation is the one that serves: accept. */
  | {
      readonly type: 'serve'
      /**
       * The inherited listeners that nobody of its generation wants: of the others that it doesn't want itself, the files of
       * Unix sockets stay. An older version doesn't say so: then all that it doesn't want.
       */
      readonly dropped?: readonly string[]
    }
  /**
   * On probation: it serves the connections that the generation before it gives, and accepts only where none can be given. 'serve'
   * follows, or 'retire'.
   */
  | { readonly type: 'probe' }
  /** Another generation is on probation beside this one, and gets such a share of its connections, from 0 to 1; null: no more. */
  | { readonly type: 'beside'; readonly share: number | null }
  /** How many requests has it answered, since two generations serve? */
  | { readonly type: 'tally'; readonly id: number }
  /** The one before it has begun to drain: what only one may do, this one does from now on. */
  | { readonly type: 'alone' }
  | ({ readonly type: 'team' } & TeamNews)
  /** What has it used since its start? */
  | { readonly type: 'measure'; readonly id: number }
  /** It is busier than the others: such a share of its connections shall go elsewhere. */
  | ({ readonly type: 'share'; readonly id: number } & ShareRequest)
  /** An upgrade under way has begun, or is over. */
  | { readonly type: 'upgrading'; readonly value: boolean }
  /** How many connections are there? And, with names, what does a drain wait for? */
  | { readonly type: 'count'; readonly id: number; readonly isNamed?: boolean }
  /** What are the keys of the session tickets? */
  | { readonly type: 'reveal'; readonly id: number }
  /** Those of the generation before it, to be applied before 'serve'. */
  | { readonly type: 'ticketKeys'; readonly ticketKeys: readonly TicketKeys[] }
  /** A next generation serves: drain, close, exit. */
  | {
      readonly type: 'retire'
      /** The one that takes its connections is warmed up: all at once. */
      readonly isUrgent?: boolean
    }
  /** Nobody follows: drain, close, exit; the second one skips `closeDelay`. */
  | { readonly type: 'close'; readonly signal: NodeJS.Signals | null }
  /** To be logged by the application's logger, as a process that has served has none that is of today. */
  | ({ readonly type: 'log'; readonly id: number } & LogLine)
  | { readonly type: 'upgraded'; readonly id: number; readonly result: UpgradeResult }
  /** What it wanted to know: a `Status`, or text. */
  | { readonly type: 'informed'; readonly id: number; readonly answer: unknown }
  /** What the application wanted with a generation on probation has been done. */
  | { readonly type: 'judged'; readonly id: number }
  | {
      readonly type: 'refused'
      readonly id: number
      readonly code: string
      readonly message: string
      readonly lastWords?: string
    }
