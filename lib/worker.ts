import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DrainReport } from './drain-report.js'
import { GracefulUpgradeError } from './errors.js'
import type { Ending, Generation } from './generation.js'
import type { Log } from './log.js'
import { asRawHandle, asSendHandle, type RawHandle } from './node-internals.js'
import { createOfferChannel } from './offer-channel.js'
import {
  type ConnectionOffer,
  type Inheritance,
  inheritanceVariable,
  type ListenerAddress,
  type MasterMessage,
  type OfferAnswer,
  type OpenListener,
  type Relay,
  readWorkerMessage,
  typeOf,
  type UpgradeResult,
  type WorkerMessage,
  wrap
} from './protocol.js'
import type { RestartContext } from './restart-context.js'
import type { StandardError } from './standard-error.js'

/** What a master needs to start a worker, but for what differs from one to the next. */
export interface WorkerSettings {
  readonly context: RestartContext
  readonly log: Log
  readonly standardError: StandardError
  /** Longest time until it is ready, in milliseconds. */
  readonly readyTimeout: number
}

export interface WorkerStart {
  readonly number: number
  readonly listeners: readonly OpenListener[]
  readonly succeeds: Inheritance['succeeds']
  /** The worker wants an upgrade. */
  readonly onUpgrade: () => Promise<UpgradeResult>
  /** The worker is draining, and a connection of it is looking for the generation that serves. */
  readonly onOffer: Relay
}

/** What a worker answers to which question. */
interface Answers {
  readonly count: Extract<WorkerMessage, { type: 'counted' }>
  readonly reveal: Extract<WorkerMessage, { type: 'revealed' }>
}
type Answer = Answers[keyof Answers]

/** What a worker may take beyond the time that it asked for, in milliseconds. */
const exitTime = 1_000
/** How long a worker may take to answer a question, in milliseconds. */
const answerTimeout = 1_000
/** Descriptors of a worker: after standard input, output, error and the IPC channel. */
const standardErrorDescriptor = 4
const firstListenerDescriptor = 5

/** Starts a generation in a child process; the master's side of it. `parent.ts` is the other. */
export function startWorker(settings: WorkerSettings, start: WorkerStart): Generation {
  const { log } = settings
  const { number } = start
  const handles = new Map<string, { readonly listener: ListenerAddress; readonly handle: RawHandle }>()
  const child = spawnWorker(settings, start)
  const pid = child.pid ?? 0
  const offers = createOfferChannel(send, takeOffer)
  const asked = new Map<number, (answer: Answer | null) => void>()
  let lastQuestion = 0
  const lastWords = relayStandardError(child, settings.standardError)

  let endTimeout = 0
  let report: DrainReport | null = null
  let isReleased = false
  let die = () => {}
  const dying = new Promise<void>(resolve => {
    die = resolve
  })
  const ended = new Promise<Ending>(resolve => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.once('close', () => offers.close('unavailable'))
    child.once('disconnect', () => {
      offers.close('unavailable')
      for (const settle of [...asked.values()]) settle(null)
    })
    child.once('error', () => {
      if (child.pid === undefined) resolve({ code: null, signal: null })
    })
  })
  const ready = whenReady()
  ready.catch(() => {})
  if (child.pid !== undefined) log.info({ generation: number, generationPid: pid }, 'generation spawned')

  return {
    number,
    pid,
    ready,
    ended,
    dying,
    listeners: () => [...handles.values()].map(({ listener, handle }) => ({ ...listener, fd: handle.fd })),
    connections: async () => (await ask('count'))?.connections ?? null,
    ticketKeys: async () => (await ask('reveal'))?.ticketKeys ?? null,
    serve(ticketKeys) {
      if (ticketKeys.length > 0) send({ type: 'ticketKeys', ticketKeys })
      send({ type: 'serve' })
    },
    upgrading: value => send({ type: 'upgrading', value }),
    async retire() {
      const ending = await end({ type: 'retire' })
      await lastMessageHeard(child)
      return { ...ending, report }
    },
    close(signal) {
      if (endTimeout > 0) return end({ type: 'close', signal })
      child.kill('SIGKILL') // nothing of it listens
      return ended
    },
    adopt: offers.offer,
    kill: () => void child.kill('SIGKILL'),
    release() {
      isReleased = true
      for (const { handle } of handles.values()) handle.close()
      handles.clear()
    }
  }

  function whenReady(): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const detail = `generation ${number} (pid ${pid}) took longer than readyTimeout (${settings.readyTimeout} ms)`
        reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_READY_TIMEOUT', detail, { lastWords: lastWords() }))
      }, settings.readyTimeout)
      child.once('error', cause => {
        clearTimeout(timer)
        const { command, directory } = settings.context
        const detail = `${command} in ${directory}: ${cause.message}`
        reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', detail, { cause }))
      })
      child.once('exit', (code, signal) => {
        clearTimeout(timer)
        void lastWordsHeard(child).then(() => {
          const how = signal === null ? `with code ${code}` : `by ${signal}`
          const detail = `generation ${number} (pid ${pid}) ended ${how}`
          reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', detail, { lastWords: lastWords() }))
        })
      })
      child.on('message', (message, handle) => {
        const said = readWorkerMessage(message)
        if (said === undefined) return // the application's own
        if (said === 'unknown')
          return log.warn({ generation: number, type: typeOf(message) }, 'unknown message of a worker')
        switch (said.type) {
          case 'listener':
            if (said.endTimeout !== undefined) endTimeout = said.endTimeout + exitTime
            return hold(said.listener, asRawHandle(handle))
          case 'unlisten':
            return drop(said.key)
          case 'ready': {
            clearTimeout(timer)
            const lost = isReleased ? [] : (said.published ?? []).filter(key => !handles.has(key))
            if (lost.length > 0) return reject(noDescriptorFor(lost))
            endTimeout = said.endTimeout + exitTime
            return resolve(said.unclaimed)
          }
          case 'drained':
            report = said.report
            return
          case 'dying':
            return die()
          case 'offer':
          case 'offered':
          case 'answer':
            return offers.receive(said, asRawHandle(handle))
          case 'counted':
          case 'revealed':
            return asked.get(said.id)?.(said)
          case 'upgrade':
            return void start.onUpgrade().then(
              result => send({ type: 'upgraded', id: said.id, result }),
              ({ code, message, lastWords }) =>
                send({ type: 'refused', id: said.id, code, message, lastWords })
            )
        }
      })
    })
  }

  function ask<Question extends keyof Answers>(type: Question): Promise<Answers[Question] | null> {
    if (!child.connected) return Promise.resolve(null)
    const id = ++lastQuestion
    return new Promise(resolve => {
      const timer = setTimeout(settle, answerTimeout, null)
      asked.set(id, settle)
      send({ type, id })

      function settle(answer: Answer | null): void {
        clearTimeout(timer)
        asked.delete(id)
        resolve(answer as Answers[Question] | null)
      }
    })
  }

  function hold(listener: ListenerAddress, handle: RawHandle | undefined): void {
    if (isReleased) return handle?.close()
    if (handle === undefined) {
      log.warn({ generation: number, listener }, 'listener arrived without its socket')
      return
    }
    drop(listener.key)
    handles.set(listener.key, { listener, handle })
  }

  function drop(key: string): void {
    handles.get(key)?.handle.close()
    handles.delete(key)
  }

  function send(message: MasterMessage, handle?: RawHandle): void {
    // An error means that it is gone: 'exit' and 'disconnect' tell.
    if (child.connected) child.send(wrap(message), handle && asSendHandle(handle), {}, () => {})
  }

  /** The answer comes when the connection has arrived elsewhere: until then this process's copy is needed. */
  async function takeOffer(offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
    const answer = await start.onOffer(offer, handle)
    handle.close()
    return answer
  }

  async function end(message: MasterMessage): Promise<Ending> {
    send(message)
    const timer = setTimeout(() => {
      log.error(
        { generation: number, generationPid: pid, ms: endTimeout },
        'generation does not end, killing it'
      )
      child.kill('SIGKILL')
    }, endTimeout)
    const ending = await ended
    clearTimeout(timer)
    return ending
  }
}

function spawnWorker(
  { context, standardError }: WorkerSettings,
  { number, listeners, succeeds }: WorkerStart
) {
  const inheritance: Inheritance = {
    generation: number,
    listeners: listeners.map((listener, index) => ({ ...listener, fd: firstListenerDescriptor + index })),
    master: process.pid,
    standardError: standardErrorDescriptor,
    succeeds
  }
  return spawn(context.command, context.args, {
    cwd: context.directory,
    env: { ...context.environment, [inheritanceVariable]: JSON.stringify(inheritance) },
    stdio: ['inherit', 'inherit', 'pipe', 'ipc', standardError.fd, ...listeners.map(({ fd }) => fd)]
  })
}

/** At its descriptor limit the system drops a socket: the generation after this one could not inherit it. */
function noDescriptorFor(keys: readonly string[]): GracefulUpgradeError {
  const detail = `the master has no descriptor left for ${keys.join(', ')}: raise its limit (ulimit -n)`
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', detail)
}

/** Passes on what the worker says on its standard error, unchanged, and remembers the end of it. */
function relayStandardError({ stderr }: ChildProcess, standardError: StandardError): () => string {
  let tail = ''
  stderr?.on('data', (chunk: Buffer) => {
    standardError.write(chunk)
    tail = (tail + chunk.toString()).slice(-4_096)
  })
  return () => tail.trimEnd().split('\n').slice(-20).join('\n')
}

/** The news of a process's end may come before what it has said last. */
async function lastMessageHeard(child: ChildProcess): Promise<void> {
  if (child.connected) await Promise.race([once(child, 'disconnect'), sleep(answerTimeout)])
}

/** What a process wrote before it ended may arrive after the news of its end; a grandchild may hold the pipe. */
async function lastWordsHeard({ stderr }: ChildProcess): Promise<void> {
  if (stderr === null || stderr.destroyed) return
  await Promise.race([once(stderr, 'close'), sleep(200)])
}
