import type { ConnectionCounts } from '../connections/state.js'
import type { HoldUp } from '../drain/hold-up.js'
import type { TicketKeys } from '../handover/session-tickets.js'
import type { Channel } from '../protocol/channel.js'
import type { LogLine } from '../protocol/log-line.js'
import type { MasterMessage, WorkerMessage } from '../protocol/messages.js'
import type { Tally } from '../protocol/probation.js'
import type { Shared, ShareRequest } from '../protocol/team.js'
import { createPending } from '../time/pending.js'
import type { Load } from './generation.js'
import { createMeter } from './meter.js'

/** What a worker is asked. Each is null where it doesn't answer in time. */
export interface Questions {
  connections(): Promise<ConnectionCounts | null>
  /** What its drain waits for; nothing where it doesn't answer in time. */
  heldUpBy(): Promise<readonly HoldUp[]>
  ticketKeys(): Promise<readonly TicketKeys[] | null>
  load(): Promise<Load | null>
  share(request: ShareRequest): Promise<Shared | null>
  tally(): Promise<Tally | null>
  /** Whether it has logged the line, as far as it says so in time. */
  log(line: LogLine): Promise<boolean>
  /** What it has said. */
  answer(message: Answers[keyof Answers]): void
  /** It will say nothing more. */
  over(): void
}

/** By the question. */
export interface Answers {
  readonly count: Extract<WorkerMessage, { type: 'counted' }>
  readonly reveal: Extract<WorkerMessage, { type: 'revealed' }>
  readonly measure: Extract<WorkerMessage, { type: 'measured' }>
  readonly tally: Extract<WorkerMessage, { type: 'tallied' }>
  readonly share: Extract<WorkerMessage, { type: 'shared' }>
  readonly log: Extract<WorkerMessage, { type: 'logged' }>
}

/** Without its id. */
type Question =
  | { readonly type: Exclude<keyof Answers, 'share' | 'log'>; readonly isNamed?: boolean }
  | ({ readonly type: 'log' } & LogLine)
  | ({ readonly type: 'share' } & ShareRequest)

/** How long a worker may take to answer, in milliseconds. */
const answerTimeout = 1_000

/** The same for a `ShareRequest`, which takes half a second where the worker is not busy, in milliseconds. */
const shareTimeout = 2_000

export function createQuestions({ isOpen, send }: Channel<MasterMessage>): Questions {
  const pending = createPending<Answers[keyof Answers] | null>()
  return {
    connections: async () => (await ask({ type: 'count' }))?.connections ?? null,
    heldUpBy: async () => (await ask({ type: 'count', isNamed: true }))?.heldUpBy ?? [],
    ticketKeys: async () => (await ask({ type: 'reveal' }))?.ticketKeys ?? null,
    load: createMeter(async () => (await ask({ type: 'measure' }))?.usage ?? null),
    share: async request => (await ask({ type: 'share', ...request }, shareTimeout))?.shared ?? null,
    tally: async () => (await ask({ type: 'tally' }))?.tally ?? null,
    log: async line => (await ask({ type: 'log', ...line })) !== null,
    answer: message => pending.answer(message.id, message),
    over: () => pending.answerAll(null)
  }

  async function ask<Type extends keyof Answers>(
    question: Question & { readonly type: Type },
    ms = answerTimeout
  ): Promise<Answers[Type] | null> {
    if (!isOpen()) return null
    const limit = { ms, answer: null }
    return (await pending.ask(id => send({ ...question, id }), limit)) as Answers[Type] | null
  }
}
