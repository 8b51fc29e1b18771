import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { closeSync, openSync, statSync } from 'node:fs'
import { devNull } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { GracefulUpgradeError, reasonOf } from '../errors.js'
import type { Relay } from '../handover/offer.js'
import type { OpenListener } from '../listeners/address.js'
import type { Log } from '../log.js'
import { type Channel, openChannel } from '../protocol/channel.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import { type Inheritance, inheritanceVariable } from '../protocol/inheritance.js'
import type { Inquire } from '../protocol/inquire.js'
import type { MasterMessage } from '../protocol/messages.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { createDeferred } from '../time/deferred.js'
import type { RestartReason } from './events.js'
import type { Ending, Generation, Judge } from './generation.js'
import { type LastWords, relayStandardError } from './last-words.js'
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
  /** So many a team begins with. */
  readonly workers?: number
  /** Which of several workers it is. Undefined where nobody has asked for any number of them. */
  readonly place?: { readonly worker: number; readonly workers: number } | undefined
  /** One of several workers can serve, so long after its start, in milliseconds. */
  readonly onWorkerReady?: ((worker: number, pid: number, ms: number) => void) | undefined
  /** One of several workers has given a connection to another one. */
  readonly onMoved?: () => void
  /** Another one is started in the place of one of several workers. */
  readonly onRestart?: (reason: RestartReason) => void
  /** It listens, but fails its check; of several workers this one does. */
  readonly onUnchecked?: ((worker: number | undefined, failure: CheckFailure) => void) | undefined
  /** It runs what this one runs, though a link may lead elsewhere by now. @default what is there now */
  readonly release?: Generation | undefined
  /** It may go on probation: of a team only worker 0 is started before that. */
  readonly isCandidate?: boolean
  /** The worker wants an upgrade. */
  readonly onUpgrade: () => Promise<UpgradeResult>
  readonly onJudge: Judge
  /** The application wants to know something of the whole service. */
  readonly onInquire: Inquire
  /** It has answered a request with 5xx, while two generations serve. */
  readonly onErred?: () => void
  /** The worker is draining, and a connection of it is looking for the generation that serves. */
  readonly onOffer: Relay
}

/** What a generation is started with by a master, which doesn't know what may be asked. */
export type GenerationStart = Omit<WorkerStart, 'onInquire'>

/** A worker's process, as its master has it. */
export interface WorkerProcess {
  /** 0 if it could not be started. */
  readonly pid: number
  readonly channel: Channel<MasterMessage>
  readonly lastWords: LastWords
  /** Resolves with the reason if it could not be started. */
  readonly failed: Promise<GracefulUpgradeError>
  /** Resolves when it has ended, or could not be started. */
  readonly ended: Promise<Ending>
  /** Resolves when besides what it has said is heard: that may come after the news of its end. */
  readonly gone: Promise<void>
  /** Unlike `process.kill()` never for another process that has its pid by now. */
  kill(signal: NodeJS.Signals): void
}

/** Starts a child process; in a test one that is played. */
export type Spawn = (command: string, args: readonly string[], options: SpawnOptions) => ChildProcess

/** Descriptors of a worker: after standard input, output, error and the IPC channel. */
const standardErrorDescriptor = 4

const firstListenerDescriptor = 5

/** What a start takes besides a copy of each of those: two pairs of sockets, and the pipe that says how it went. */
const descriptorsOfStart = 6

/** How long an open channel is listened to when the worker has ended, in milliseconds: a grandchild may hold it. */
const hearTime = 1_000

/** @throws where it is clear at once that it can't be started */
export function spawnWorker(settings: WorkerSettings, start: WorkerStart, run: Spawn = spawn): WorkerProcess {
  const { context, standardError } = settings
  const child = runChild(settings, start, run)
  const channel = openChannel<MasterMessage>(child)
  const failed = createDeferred<GracefulUpgradeError>()
  const ended = createDeferred<Ending>()
  child.once('exit', (code, signal) => ended.resolve({ code, signal }))
  child.on('error', cause => {
    if (child.pid !== undefined) return // kill() emits it too, where that isn't allowed
    const detail = whyNotStarted(context, cause)
    failed.resolve(new GracefulUpgradeError('GRACEFUL_UPGRADE_SPAWN_FAILED', detail, { cause }))
    ended.resolve({ code: null, signal: null })
  })
  const silent = ended.promise.then(() => sleep(hearTime, undefined, { ref: false }))
  return {
    pid: child.pid ?? 0,
    channel,
    lastWords: relayStandardError(child.stderr, standardError),
    failed: failed.promise,
    ended: ended.promise,
    gone: Promise.race([channel.lost, silent]),
    kill: signal => void child.kill(signal)
  }
}

function runChild(
  { context, standardError }: WorkerSettings,
  { number, listeners, succeeds, place }: WorkerStart,
  run: Spawn
): ChildProcess {
  const inheritance: Inheritance = {
    generation: number,
    listeners: listeners.map((listener, index) => ({ ...listener, fd: firstListenerDescriptor + index })),
    master: process.pid,
    standardError: standardErrorDescriptor,
    succeeds,
    ...place
  }
  try {
    checkDescriptors(descriptorsOfStart + firstListenerDescriptor + listeners.length)
    return run(context.command, context.args, {
      cwd: context.directory,
      env: {
        ...context.environment,
        ...(place && placeVariables(place.worker)),
        [inheritanceVariable]: JSON.stringify(inheritance)
      },
      stdio: ['inherit', 'inherit', 'pipe', 'ipc', standardError.fd, ...listeners.map(({ fd }) => fd)]
    })
  } catch (cause) {
    throw new Error(whyNotStarted(context, cause as Error), { cause })
  }
}

/**
 * Node.js leaves two descriptors open for good where it finds in the middle of a start that there is none left: this finds it
 * before that.
 * @throws EMFILE where there are fewer
 */
function checkDescriptors(count: number): void {
  const opened: number[] = []
  try {
    while (opened.length < count) opened.push(openSync(devNull, 'r'))
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}

/** By the second one pm2's users know which worker they are. */
function placeVariables(worker: number): NodeJS.ProcessEnv {
  return { GRACEFUL_UPGRADE_WORKER: String(worker), NODE_APP_INSTANCE: String(worker) }
}

/** Node.js says `spawn node ENOENT` also where it is the working directory that is missing. */
function whyNotStarted({ command, directory }: RestartContext, error: NodeJS.ErrnoException): string {
  if (!isDirectory(directory))
    return `there is no directory ${directory}: it must be there to run ${command} in`
  if (error.code === 'ENOENT')
    return `${command} in ${directory}: there is no such program, or it needs one that is missing`
  return `${command} in ${directory}: ${reasonOf(error)}`
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    return !['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '') // that is another reason
  }
}
