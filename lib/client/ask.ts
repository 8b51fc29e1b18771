import net, { type Socket } from 'node:net'
import { parseLine, splitLines } from '../control/lines.js'
import { longestAnswer, type Progress, type Refusal, type Request, type Status } from '../control/messages.js'
import { GracefulUpgradeError, isErrorCode, receivedError } from '../errors.js'
import { createDeferred } from '../time/deferred.js'
import { awaitEnd, mustBeGone, type Stopping } from './await-end.js'
import { isId, isStatus, readAnswer } from './read-answer.js'
import { connectError, unusable } from './unreachable.js'

type OnProgress = (progress: Progress) => void

/**
 * Asks a master. `reload` resolves when the old generation has retired, `confirm` when the new one serves alone, `rollback` when that
 * drains, `scale` with the number of workers that serve then,
 * `stop` when the master has ended: it has said so, or is known to be gone.
 * @param signal gives up waiting; what was asked for goes on
 * @throws GRACEFUL_UPGRADE_MASTER_LOST if it ends or is given up before it has answered; _NO_MASTER, _CONTROL_SOCKET
 * if it can't be asked; and what the master answers
 */
export function ask(
  file: string,
  command: 'status',
  onProgress?: undefined,
  signal?: AbortSignal
): Promise<Status>

export function ask(
  file: string,
  command: 'metrics',
  onProgress?: undefined,
  signal?: AbortSignal
): Promise<string>

export function ask(
  file: string,
  command: 'reload' | 'confirm' | 'rollback' | 'stop',
  onProgress?: OnProgress,
  signal?: AbortSignal
): Promise<void>

export function ask(
  file: string,
  scale: Extract<Request, { command: 'scale' }>,
  onProgress?: OnProgress,
  signal?: AbortSignal
): Promise<number>

export async function ask(
  file: string,
  asked: Exclude<Request['command'], 'scale'> | Request,
  onProgress?: OnProgress,
  signal?: AbortSignal
): Promise<unknown> {
  const request = typeof asked === 'string' ? { command: asked } : asked
  const { command } = request
  const socket = net.connect(file)
  const givenUp = createDeferred<never>()
  const giveUp = () => givenUp.reject(lost('it was not waited for any longer'))
  signal?.addEventListener('abort', giveUp)
  if (signal?.aborted) giveUp()
  try {
    return await Promise.race([givenUp.promise, untilOver()])
  } finally {
    signal?.removeEventListener('abort', giveUp)
    socket.destroy()
  }

  async function untilOver(): Promise<unknown> {
    let stopping: Stopping | undefined
    const answer = await talk(socket, file, request, progress => {
      if (progress.stage === 'stopping') stopping = progress
      onProgress?.(progress)
    })
    if (signal?.aborted) return undefined // nobody waits for it
    if (answer !== undefined) return resultOf(command, answer.result, file)
    if (command === 'stop') return awaitEnd(file, stopping, signal)
    await mustBeGone(file)
    throw lost('it went away')
  }
}

/** @returns its last answer, that to `stop` when the connection has ended; undefined if it has ended without one */
function talk(
  socket: Socket,
  file: string,
  request: Request,
  onProgress: OnProgress
): Promise<{ readonly result: unknown } | undefined> {
  const { promise, resolve, reject } = createDeferred<{ readonly result: unknown } | undefined>()
  const split = splitLines(longestAnswer)
  let isConnected = false
  let last: { readonly result: unknown } | undefined
  socket.on('connect', () => {
    isConnected = true
    socket.write(`${JSON.stringify(request)}\n`)
  })
  socket.on('data', chunk => {
    try {
      for (const line of split(chunk) ?? ['']) hear(line)
    } catch (error) {
      reject(error)
    }
  })
  socket.on('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => {
    const wasQueued = code === 'ECONNRESET' // and whoever had not accepted it yet has ended
    if (!isConnected && !wasQueued) reject(connectError(file, code))
  })
  socket.on('close', () => resolve(last))
  return promise

  function hear(line: string): void {
    const answer = readAnswer(parseLine(line))
    if (answer === 'unknown') return
    if (answer === undefined) throw unusable(`whoever listens on ${file} is no master`)
    if ('progress' in answer) return onProgress(answer.progress)
    if ('error' in answer) throw refusalOf(answer.error)
    last = answer
    if (request.command !== 'stop') resolve(answer)
  }
}

function refusalOf({ code, message, lastWords }: Refusal): GracefulUpgradeError {
  const known = isErrorCode(code) ? code : 'GRACEFUL_UPGRADE_CONTROL_SOCKET'
  return receivedError(known, message, lastWords ?? undefined)
}

function resultOf(command: Request['command'], result: unknown, file: string): unknown {
  if (command === 'status') {
    if (isStatus(result)) return result
    throw unusable(`${file} answers with no status`)
  }
  if (command === 'metrics') {
    if (typeof result === 'string') return result
    throw unusable(`${file} answers with no metrics`)
  }
  if (command !== 'scale') return undefined
  if (isId(result)) return result
  throw unusable(`${file} answers with no number of workers`)
}

function lost(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', detail)
}
