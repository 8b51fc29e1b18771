import { lstatSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import {
  type Answer,
  type Command,
  controlPaths,
  isStatus,
  knock,
  longestAnswer,
  type Progress,
  type Request,
  readAnswer,
  type Status,
  splitLines,
  whyNotPrivate
} from './control.js'
import { GracefulUpgradeError, isErrorCode, receivedError } from './errors.js'
import { isAlive } from './is-alive.js'
import { readPidFile } from './pid-file.js'

/** Longest time a master is waited for while it is searched among others, in milliseconds. */
const searchTimeout = 5_000

/**
 * Finds the socket of a running master.
 * @param target a process ID, a pid file, the directory of a service, or a control socket
 * @returns the socket's path
 * @throws GRACEFUL_UPGRADE_NO_MASTER; _PID_FILE; _CONTROL_SOCKET if it is another user's; _USAGE if there are several
 */
export async function findMaster(target: string): Promise<string> {
  if (/^[1-9]\d*$/.test(target)) return masterOf(Number(target))
  const stat = look(target)
  if (stat.isDirectory()) return masterOfDirectory(target)
  if (!stat.isSocket()) return masterOf(readPidFile(target))
  const code = await knock(target)
  if (code !== undefined) throw connectError(target, code)
  return target
}

function look(target: string) {
  try {
    return statSync(target)
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException
    if (code === 'EACCES') throw forbidden(target)
    throw noMaster(`${target} is neither a process ID, nor is there such a file (${code})`)
  }
}

async function masterOf(pid: number): Promise<string> {
  const { uid: owner, innerPid } = identify(pid)
  const own = process.geteuid?.() ?? 0
  for (const uid of new Set([owner ?? own, own, 0])) {
    // A service may have a /tmp of its own (systemd's PrivateTmp), or a container's; root gets there by this way.
    const inner = controlPaths(innerPid, uid).map(file => `/proc/${pid}/root${file}`)
    for (const file of [...controlPaths(pid, uid), ...inner]) {
      const failure = await attempt(file, uid)
      if (failure === undefined) return file
      if (failure === 'EACCES' && uid === owner && own !== owner) {
        throw notYours(`process ${pid}`, owner)
      }
    }
  }
  throw noMaster(
    isAlive(pid)
      ? `process ${pid} runs, but it is not a master, or cannot be reached`
      : `there is no process ${pid}`
  )
}

/** @returns undefined if a process of this user accepts there; else the error's code */
async function attempt(file: string, uid: number): Promise<string | undefined> {
  try {
    if (whyNotPrivate(path.dirname(file), uid) !== undefined) return 'EPERM' // somebody poses as a master
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
  return knock(file)
}

/** What Linux tells of a process: the user that it acts as, and its number in its own namespace. */
function identify(pid: number): { uid?: number; innerPid: number } {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const uid = /^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1]
    const innerPid = Number(/^NSpid:.*?(\d+)$/m.exec(status)?.[1] ?? pid)
    return uid === undefined ? { innerPid } : { uid: Number(uid), innerPid }
  } catch {
    return { innerPid: pid }
  }
}

/** Of this user's masters, or for root of all, the one that serves from a directory. */
async function masterOfDirectory(directory: string): Promise<string> {
  const wanted = namesOf(directory)
  const found: { readonly file: string; readonly pid: number }[] = []
  let silent = 0
  const visits = allSockets().map(async file => {
    if ((await knock(file)) !== undefined) return
    try {
      const { pid, directory } = await ask(file, 'status', undefined, AbortSignal.timeout(searchTimeout))
      if (namesOf(directory).some(name => wanted.includes(name))) found.push({ file, pid })
    } catch {
      silent++
    }
  })
  await Promise.all(visits)
  const [master, ...others] = found
  if (master === undefined) {
    const hint = silent > 0 ? `, but ${silent} did not say where they serve from` : ''
    throw noMaster(`no master of this user serves from ${wanted[0]}${hint}; name it by its process ID`)
  }
  if (others.length === 0) return master.file
  const pids = found.map(({ pid }) => pid).sort((a, b) => a - b)
  const detail = `several masters serve from ${wanted[0]}, name one of them: ${pids.join(', ')}`
  throw new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
}

function namesOf(directory: string): string[] {
  try {
    return [path.resolve(directory), realpathSync(directory)]
  } catch {
    return [path.resolve(directory)]
  }
}

function allSockets(): string[] {
  const own = process.geteuid?.() ?? 0
  const others = own !== 0 ? [] : [...list('/run/user'), ...list('/tmp')]
  const uids = others.flatMap(name => /^(?:graceful-upgrade-)?(\d+)$/.exec(name)?.[1] ?? []).map(Number)
  return [...new Set([own, ...uids])].flatMap(uid =>
    controlPaths(1, uid)
      .map(file => path.dirname(file))
      .filter(directory => isPrivate(directory, uid))
      .flatMap(directory => list(directory).map(name => path.join(directory, name)))
      .filter(file => file.endsWith('.sock'))
  )
}

function isPrivate(directory: string, uid: number): boolean {
  try {
    return whyNotPrivate(directory, uid) === undefined
  } catch {
    return false
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

type OnProgress = (progress: Progress) => void

/**
 * Asks a master. `reload` resolves when the old generation has retired, `stop` when the master has ended.
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
  command: 'reload' | 'stop',
  onProgress?: OnProgress,
  signal?: AbortSignal
): Promise<void>
export function ask(
  file: string,
  command: Command,
  onProgress?: OnProgress,
  signal?: AbortSignal
): Promise<unknown> {
  const socket = net.connect(file)
  const split = splitLines(longestAnswer)
  let isConnected = false
  const asked = new Promise<unknown>((resolve, reject) => {
    const onAbort = () => {
      reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST', 'it was not waited for any longer'))
    }
    if (signal?.aborted) return onAbort()
    signal?.addEventListener('abort', onAbort)
    socket.on('connect', () => {
      isConnected = true
      socket.write(`${JSON.stringify({ command } satisfies Request)}\n`)
    })
    socket.on('data', chunk => {
      try {
        for (const line of split(chunk) ?? ['']) hear(readAnswer(line))
      } catch (error) {
        reject(error)
      }
    })
    socket.on('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => {
      if (!isConnected) reject(connectError(file, code))
    })
    socket.on('close', () => {
      signal?.removeEventListener('abort', onAbort)
      if (command === 'stop') resolve(undefined)
      else reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST'))
    })

    function hear(answer: Answer | 'unknown' | undefined): void {
      if (answer === 'unknown') return
      if (answer === undefined) throw unusable(`whoever listens on ${file} is no master`)
      if ('progress' in answer) return onProgress?.(answer.progress)
      if ('error' in answer) {
        const { code, message, lastWords } = answer.error
        const known = isErrorCode(code) ? code : 'GRACEFUL_UPGRADE_CONTROL_SOCKET'
        throw receivedError(known, message, lastWords)
      }
      if (command === 'stop') return // it has ended when the connection does
      if (command === 'status' && !isStatus(answer.result)) throw unusable(`${file} answers with no status`)
      resolve(command === 'status' ? answer.result : undefined)
    }
  })
  return asked.finally(() => socket.destroy())
}

function connectError(file: string, code: string): GracefulUpgradeError {
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return noMaster(`nobody listens on ${file} (${code})`)
  if (code === 'EACCES' || code === 'EPERM') return forbidden(file)
  return unusable(`connecting to ${file} failed (${code})`)
}

/** Whose it is says the file, or the first directory above it that may be seen. */
function forbidden(file: string): GracefulUpgradeError {
  try {
    return notYours(file, lstatSync(file).uid)
  } catch {
    return forbidden(path.dirname(path.resolve(file)))
  }
}

function notYours(what: string, uid: number): GracefulUpgradeError {
  return unusable(`${what} belongs to uid ${uid}: ask as this user, or as root`)
}

function unusable(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_CONTROL_SOCKET', detail)
}

function noMaster(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_NO_MASTER', detail)
}
