import { EventEmitter } from 'node:events'
import type { FastifyInstance } from 'fastify'
import type { DrainReason, DrainReport } from '../../../lib/drain/report.js'
import type { OpenListener } from '../../../lib/listeners/address.js'
import type { Listener, Listeners } from '../../../lib/listeners/listeners.js'
import type { ResolvedOptions } from '../../../lib/options/given.js'
import { defaultOptions } from '../../../lib/options.js'
import type { Application, Ending } from '../../../lib/process/application.js'
import type { Beside, Judges } from '../../../lib/process/beside.js'
import type { Departure } from '../../../lib/process/departure.js'
import type { Instance } from '../../../lib/process/instance.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playLog } from './log.ts'

export const noReport: DrainReport = { refused: 0, longestPause: 0, kinds: {} }

/** What a process listens on: nothing, unless the test puts it into the lists. */
export function playListeners() {
  const calls: string[] = []
  const live: Listener[] = []
  const unclaimed: OpenListener[] = []
  let isShared = false
  const note = (call: string) => () => void calls.push(call)
  const listeners = Object.assign(new EventEmitter(), {
    live: () => live,
    open: () => live.map(({ key, bound }) => ({ key, bound, fd: 9 })),
    addressOf: () => undefined,
    handle: () => ({}) as never,
    unclaimed: () => unclaimed,
    wanted: () => unclaimed.filter(({ isOptional }) => !isOptional),
    share(value: boolean) {
      if (value !== isShared) calls.push(value ? 'share' : 'share no more')
      isShared = value
    },
    serve: note('serve'),
    dropUnclaimed: note('dropUnclaimed'),
    handOver: note('handOver'),
    upgrading: (value: boolean) => void calls.push(`upgrading ${value}`),
    isUpgrading: () => false
  }) as unknown as Listeners
  return { listeners, calls, live, unclaimed }
}

/** What a process does while two generations serve: it is told. */
export function playBeside(calls: string[]): Beside & { judges(): Judges | undefined } {
  let role: Beside['role']
  let judges: Judges | undefined
  return {
    get role() {
      return role
    },
    probe(given) {
      role = 'candidate'
      judges = given
      calls.push('probe')
    },
    judges: () => judges,
    give(share) {
      role = 'current'
      calls.push(`give ${share}`)
    },
    async over() {
      if (role !== undefined) calls.push('over')
      role = undefined
    },
    tally: () => ({ responses: 7, errors: 1 })
  }
}

/** An instance that drains when the test says so; what happens to it is told. */
export function playInstance(name: string, calls: string[], given: Partial<Instance> = {}) {
  const drained = createDeferred()
  const { log } = playLog()
  let departure: Departure | undefined
  const instance = {
    app: {
      log,
      close: async () => void calls.push(`${name} closes`)
    } as unknown as FastifyInstance,
    options: defaultOptions,
    state: 'serving',
    booted: true,
    isCloseCalled: false,
    servers: () => [],
    async drain(given: Departure) {
      if (departure === undefined) calls.push(`${name} drains: ${given.reason}`)
      departure?.askedAgain(given.reason)
      departure ??= given
      await drained.promise
      return () => noReport
    },
    ...given
  } as Instance
  return { instance, drained, departure: () => departure }
}

/** An application as the roles know it: it ends when the test says so. */
export function playApplication(given: Partial<ResolvedOptions> = {}) {
  const { log, lines } = playLog()
  const calls: string[] = []
  const ended = createDeferred<0 | 1>()
  const instances = new Set<Instance>()
  let onDrained: (() => Promise<void>) | undefined
  let begin = () => {}
  const application = {
    instances,
    log,
    options: { ...defaultOptions, ...given },
    times: { endTimeout: 7, closeDelay: 0 },
    isClosing: false,
    ending: false,
    connections: () => ({ fresh: 0, idle: 0, active: 0, detached: 0 }),
    heldUpBy: () => [],
    end(reason: DrainReason, how: Ending = {}) {
      calls.push(`end: ${reason}${how.isUrgent ? ', urgently' : ''}`)
      onDrained ??= how.onDrained
      application.ending = true
      return ended.promise
    },
    /** With `closeDelay` it does so when it is hurried. */
    close(onDrain = () => {}) {
      application.isClosing = application.options.closeDelay > 0
      begin = () => {
        application.isClosing = false
        void application.end('close')
        onDrain()
      }
      if (!application.isClosing) begin()
      return ended.promise
    },
    hurry() {
      const { isClosing } = application
      if (isClosing) begin()
      return isClosing
    },
    report: () => noReport
  }
  return {
    instances,
    application: application as unknown as Application & { ending: boolean },
    calls,
    lines,
    /** As by its last answer. */
    drained: async () => await onDrained?.(),
    ended
  }
}
