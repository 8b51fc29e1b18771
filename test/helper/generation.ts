import { GracefulUpgradeError } from '../../lib/errors.js'
import type { TicketKeys } from '../../lib/handover/session-tickets.js'
import type { Log } from '../../lib/log.js'
import type { Ending, Generation, Retirement, Worker } from '../../lib/master/generation.js'
import type { Tally } from '../../lib/protocol/probation.js'
import { createDeferred } from '../../lib/time/deferred.js'

/** A generation whose life the test leads. */
export interface PlayedGeneration extends Worker {
  /** What it answers. */
  ticketKeys: Generation['ticketKeys']
  connections: Generation['connections']
  report: Retirement['report']
  /** Whether it has heard that no older one serves beside it. */
  isAlone: boolean
  /** What it wants, and has answered since two generations serve. */
  probation: Generation['probation']
  answered: Tally | null
  /** Its other workers are there, or one of them fails. */
  readonly completed: ReturnType<typeof createDeferred<void>>
  /** What it has got. */
  given: readonly TicketKeys[] | undefined
  becomeReady(unclaimed?: readonly string[]): void
  fail(error: Error): void
  /** It has an uncaught error, and drains yet. */
  die(): void
  /** A signal asks it to end. */
  leave(): void
  /** Its `closeDelay` is under way, until it is hurried. */
  lingers: boolean
  /** Its application knows that it goes. */
  drain(): void
  end(code: number | null, signal?: NodeJS.Signals): void
}

/** @param calls gets what is done to it, in order */
export function playGeneration(
  number: number,
  { calls = [] as string[], isHere = false, pid = 100 + number } = {}
): PlayedGeneration {
  const ready = createDeferred<readonly string[]>()
  const ended = createDeferred<Ending>()
  const [dying, draining, leaving] = [createDeferred(), createDeferred(), createDeferred()]
  const completed = createDeferred<void>()
  ready.promise.catch(() => {})
  const end = (code: number | null, signal: NodeJS.Signals | null = null) => {
    ended.resolve({ code, signal })
    ready.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED'))
  }
  const nothing = async () => null
  const played = {
    worker: 0,
    state: 'serving',
    restarts: 0,
    connections: nothing,
    load: nothing,
    heldUpBy: async () => []
  } as const
  const generation: PlayedGeneration = {
    number,
    isHere,
    processes: () => (pid === 0 ? [] : [{ ...played, pid }]),
    ready: ready.promise,
    ended: ended.promise,
    dying: dying.promise,
    leaving: leaving.promise,
    leave: leaving.resolve,
    load: nothing,
    share: nothing,
    tellTeam: ({ workers, heir }) => calls.push(`${number} team ${workers} ${heir}`),
    draining: Promise.race([draining.promise, ended.promise]),
    drain: draining.resolve,
    becomeReady: (unclaimed = []) => ready.resolve(unclaimed),
    fail: ready.reject,
    die: dying.resolve,
    end,
    listeners: () => [{ key: `tcp::${number}`, bound: `0.0.0.0:${number}`, fd: number }],
    connections: async () => null,
    ticketKeys: async () => null,
    report: null,
    given: undefined,
    endTimeout: 40_000,
    probation: undefined,
    answered: { responses: 0, errors: 0 },
    completed,
    probe(ticketKeys) {
      generation.given = ticketKeys
      calls.push(`${number} probe`)
    },
    complete() {
      calls.push(`${number} complete`)
      return completed.promise
    },
    beside: share => calls.push(`${number} beside ${share}`),
    tally: async () => generation.answered,
    serve(ticketKeys) {
      generation.given = ticketKeys
      calls.push(`${number} serve`)
    },
    isAlone: false,
    alone() {
      generation.isAlone = true
    },
    upgrading: value => calls.push(`${number} upgrading ${value}`),
    async retire(isUrgent) {
      calls.push(`${number} retire${isUrgent ? ' urgently' : ''}`)
      return { ...(await ended.promise), report: generation.report }
    },
    close(signal) {
      calls.push(`${number} close ${signal}`)
      return ended.promise
    },
    lingers: false,
    hurry() {
      const { lingers } = generation
      if (lingers) calls.push(`${number} hurry`)
      generation.lingers = false
      return lingers
    },
    signal: name => calls.push(`${number} signal ${name}`),
    kill() {
      calls.push(`${number} kill`)
      end(null, 'SIGKILL')
    },
    release: () => calls.push(`${number} release`),
    async adopt(offer) {
      calls.push(`${number} adopt ${offer.idleTime}`)
      return 'adopted'
    }
  }
  return generation
}

/** A log, and the lines of it that have this message. */
export function listenToLog() {
  const lines: { msg: string; [key: string]: unknown }[] = []
  const write = (line: object | string, msg?: string) =>
    void lines.push(typeof line === 'string' ? { msg: line } : { ...line, msg: msg ?? '' })
  const log = { info: write, warn: write, error: write, fatal: write } as unknown as Log
  return { log, lines: (msg: string) => lines.filter(line => line.msg === msg) }
}
