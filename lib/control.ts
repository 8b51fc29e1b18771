/** What `graceful-upgrade status`, `reload` and `stop` and a running master say to each other, and where they meet. */
import { existsSync, lstatSync } from 'node:fs'
import { connect } from 'node:net'
import type { ConnectionCounts } from './connections.js'
import { type DrainReport, isDrainReport } from './drain-report.js'
import type { ErrorCode } from './errors.js'
import type { ListenerAddress, UpgradeResult } from './protocol.js'

/** One generation, as its master sees it. */
export interface GenerationStatus {
  readonly generation: number
  readonly pid: number
  readonly state: 'booting' | 'serving' | 'draining'
  /** For how long it has been in this state, in milliseconds. */
  readonly ms: number
  /** Of all its instances; null where it doesn't answer in time. */
  readonly connections: ConnectionCounts | null
}

/** One upgrade that is over, or a dead worker that was replaced. */
export interface UpgradeRecord {
  readonly generation: number
  readonly pid: number
  /** When it was asked for: milliseconds since 1970. */
  readonly at: number
  /** From the start of its process until it was ready or had failed, in milliseconds. */
  readonly ms: number
  /** 'ready', or why it failed. */
  readonly result: 'ready' | ErrorCode
  readonly message?: string
  /** What became of the connections of the generation before it, once that has retired; null if it didn't say. */
  readonly report?: DrainReport | null
}

/** The answer to `status`: `graceful-upgrade status --json` prints it as it is. */
export interface Status {
  /** The master's process. */
  readonly pid: number
  readonly mode: 'standalone' | 'supervised'
  /** Version of this package. */
  readonly version: string
  /** Of the service, as the shell saw it. */
  readonly directory: string
  /** Of the master, in milliseconds. */
  readonly uptime: number
  readonly state: 'starting' | 'serving' | 'upgrading' | 'replacing' | 'closing'
  /** The one that serves first, then one that boots, then those that drain. */
  readonly generations: readonly GenerationStatus[]
  readonly listeners: readonly ListenerAddress[]
  /** The last ten, the newest first. */
  readonly upgrades: readonly UpgradeRecord[]
}

/** How far an upgrade has come. */
export type Progress =
  | { readonly stage: 'booting'; readonly generation: number; readonly pid: number }
  | ({ readonly stage: 'ready' } & UpgradeResult)
  /** The old generation; told again and again while its connections get fewer. */
  | {
      readonly stage: 'draining'
      readonly generation: number
      readonly pid: number
      readonly connections: ConnectionCounts | null
    }
  | {
      readonly stage: 'retired'
      readonly generation: number
      readonly pid: number
      /** Of the drain and of closing, in milliseconds. */
      readonly ms: number
      readonly code: number | null
      readonly signal: string | null
      /** What became of its connections; null if it didn't say. */
      readonly report: DrainReport | null
    }

export const commands = ['status', 'reload', 'stop'] as const
export type Command = (typeof commands)[number]

/** A request is one line of JSON, and the only one of its connection. */
export interface Request {
  readonly command: Command
}

/** The error that a command ended with. */
export interface Refusal {
  /** One of the table, unless the master is of a later version. */
  readonly code: string
  readonly message: string
  readonly lastWords?: string
}

/** One line of JSON each: any number of `progress`, and then one of the others, which is the last. */
export type Answer =
  | { readonly progress: Progress }
  /** A `Status`, or null. */
  | { readonly result: unknown }
  | { readonly error: Refusal }

/** Of a request without its end of line, in bytes. */
export const longestRequest = 4_096
/** The same of an answer. */
export const longestAnswer = 2 ** 20

/**
 * Where the control socket of a process may be, the best place first. Server and client are started from different
 * environments, so no variable has a say in it.
 * @param uid of the process
 */
export function controlPaths(pid: number, uid: number): string[] {
  const file = `${pid}.sock`
  const runtime = `/run/user/${uid}`
  return [
    ...(uid === 0 ? [`/run/graceful-upgrade/${file}`] : []),
    ...(existsSync(runtime) ? [`${runtime}/graceful-upgrade/${file}`] : []),
    `/tmp/graceful-upgrade-${uid}/${file}`
  ]
}

/**
 * Whoever can write to a directory of control sockets could pose as a master, or take orders for one.
 * @returns undefined if it is a real directory that only this user can open; else what is wrong with it
 * @throws what lstat() throws
 */
export function whyNotPrivate(directory: string, uid: number): string | undefined {
  const stat = lstatSync(directory)
  const mode = stat.mode & 0o7777
  if (!stat.isDirectory()) return `${directory} is ${stat.isSymbolicLink() ? 'a link' : 'not a directory'}`
  if (stat.uid !== uid) return `${directory} belongs to uid ${stat.uid}, not to uid ${uid}`
  if ((mode & 0o077) !== 0) return `${directory} is open to others: its mode is ${mode.toString(8)}, not 700`
  return undefined
}

/** @returns undefined if somebody accepts there; else the error's code, ECONNREFUSED where a dead process listened */
export function knock(file: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connect(file)
    socket.on('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => resolve(code))
    socket.on('connect', () => {
      // Not destroyed: whoever greets us would get an error, and may have nothing that takes it.
      socket.unref().resume().end()
      resolve(undefined)
    })
  })
}

/**
 * Cuts what comes in into lines.
 * @param limit longest line, in bytes
 * @returns to be called with each chunk: the lines that it completes, or undefined if one is too long
 */
export function splitLines(limit: number): (chunk: Buffer) => string[] | undefined {
  let rest: Buffer = Buffer.alloc(0)
  return function take(chunk) {
    const bytes = Buffer.concat([rest, chunk])
    const end = bytes.lastIndexOf('\n') + 1
    rest = bytes.subarray(end)
    const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
    const isTooLong = rest.length > limit || lines.some(line => Buffer.byteLength(line) > limit)
    return isTooLong ? undefined : lines
  }
}

/** @returns undefined if the line isn't a request, or one of a later version */
export function readRequest(line: string): Command | undefined {
  const { command } = (parse(line) ?? {}) as Partial<Request>
  return commands.find(known => known === command)
}

/** @returns undefined if the line isn't an answer at all; 'unknown' if a later version may know it */
export function readAnswer(line: string): Answer | 'unknown' | undefined {
  const answer = parse(line)
  if (typeof answer !== 'object' || answer === null) return undefined
  if ('result' in answer) return answer as Answer
  if ('progress' in answer) return isProgress(answer.progress) ? (answer as Answer) : 'unknown'
  if ('error' in answer) return isRefusal(answer.error) ? (answer as Answer) : undefined
  return 'unknown'
}

export function isStatus(value: unknown): value is Status {
  const { pid, uptime, directory, generations, listeners, upgrades } = (value ?? {}) as Partial<Status>
  return (
    Number.isInteger(pid) &&
    typeof uptime === 'number' &&
    typeof directory === 'string' &&
    [generations, listeners, upgrades].every(Array.isArray)
  )
}

function isProgress(value: unknown): value is Progress {
  const { stage, generation, pid, ...rest } = (value ?? {}) as Progress
  const isTimed = stage === 'ready' || stage === 'retired'
  if (!isTimed && stage !== 'booting' && stage !== 'draining') return false
  return (
    Number.isInteger(generation) &&
    Number.isInteger(pid) &&
    (!isTimed || typeof (rest as { ms?: unknown }).ms === 'number') &&
    (stage !== 'retired' || isReport((rest as { report?: unknown }).report))
  )
}

/** A master of an older version has none. */
function isReport(value: unknown): boolean {
  return value == null || isDrainReport(value)
}

function isRefusal(value: unknown): value is Refusal {
  const { code, message, lastWords } = (value ?? {}) as Partial<Refusal>
  return (
    typeof code === 'string' &&
    typeof message === 'string' &&
    (lastWords === undefined || typeof lastWords === 'string')
  )
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
