import type { Socket } from 'node:net'
import { closeLingering } from '../connections/ending.js'
import { GracefulUpgradeError } from '../errors.js'
import { afterReading } from '../time/event-loop.js'
import { parseLine, splitLines } from './lines.js'
import {
  type Answer,
  commands,
  isWorkerCount,
  longestRequest,
  type Progress,
  type Refusal,
  type Request
} from './messages.js'
import { pidNamespace } from './pid-namespace.js'

/** Does what is asked for. @returns the result, if it has one */
export type Run = (request: Request, onProgress: (progress: Progress) => void) => Promise<unknown>

/** Longest time a client may take for its request, in milliseconds, and then for reading the last answer. */
const patience = 5_000

/** What may wait for a client that doesn't read, in bytes. */
const mostUnread = 64 * 1_024

/** Takes one request of a connection, and answers it. */
export function converse(socket: Socket, run: Run): void {
  const split = splitLines(longestRequest)
  let isAsked = false
  let surplus = 0
  const stopWaiting = afterReading(patience, () => finish(socket), { ref: false })
  socket.once('close', stopWaiting)
  socket.on('end', () => {
    if (!isAsked) finish(socket)
  })
  socket.on('data', chunk => {
    if (isAsked) {
      surplus += chunk.length
      if (surplus > longestRequest) socket.destroy()
      return
    }
    const lines = split(chunk)
    if (lines?.length === 0) return
    isAsked = true
    stopWaiting()
    const request = readRequest(lines?.[0] ?? '')
    if (request !== undefined) void answer(socket, request, run)
    else refuse(socket, `a request is {"command":${commands.map(name => `"${name}"`).join('|')}} in one line`)
  })
}

async function answer(socket: Socket, request: Request, run: Run): Promise<void> {
  const { command } = request
  const onProgress = (progress: Progress) => tell(socket, { progress })
  try {
    const answered = run(request, onProgress)
    if (command === 'stop') onProgress({ stage: 'stopping', pid: process.pid, namespace: pidNamespace() })
    tell(socket, { result: (await answered) ?? null })
    if (command === 'stop') return // who asked for it waits for an end of file, which is the end of the process
  } catch (error) {
    tell(socket, { error: describe(error as Error) })
  }
  finish(socket)
}

export function refuse(socket: Socket, detail: string): void {
  tell(socket, { error: describe(new GracefulUpgradeError('GRACEFUL_UPGRADE_CONTROL_SOCKET', detail)) })
  finish(socket)
}

function describe(error: Error): Refusal {
  if (!(error instanceof GracefulUpgradeError)) {
    return { code: 'GRACEFUL_UPGRADE_CONTROL_SOCKET', message: error.message }
  }
  const { code, message, lastWords } = error
  return { code, message, ...(lastWords === undefined ? {} : { lastWords }) }
}

function tell(socket: Socket, answer: Answer): void {
  if (!socket.writable) return
  if (socket.writableLength > mostUnread) return void socket.destroy() // one answer may be longer
  socket.write(`${JSON.stringify(answer)}\n`)
}

/** What has been told goes out, if the client reads it; a close with its request unread would throw that away. */
export function finish(socket: Socket): void {
  closeLingering(socket, patience)
}

/** @returns undefined if the line isn't a request, or one of a later version */
function readRequest(line: string): Request | undefined {
  const { command, workers } = (parseLine(line) ?? {}) as { readonly [field: string]: unknown }
  const known = commands.find(known => known === command)
  if (known === 'scale') return isWorkerCount(workers) ? { command: known, workers } : undefined
  return known && { command: known }
}
