import { readdirSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { readPidFile } from '../control/pid-file.js'
import { controlPaths, pidOf, probe } from '../control/place.js'
import { whyNotPrivate } from '../control/trusted-directory.js'
import { GracefulUpgradeError } from '../errors.js'
import { isAlive } from '../is-alive.js'
import { ask } from './ask.js'
import { identify, relativesOf } from './process-table.js'
import { connectError, forbidden, noMaster, notYours } from './unreachable.js'

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
  const code = await probe(target)
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
  const { uid: owner, innerPid, namespace } = identify(pid)
  const own = process.geteuid?.() ?? 0
  for (const uid of new Set([owner ?? own, own, 0])) {
    const files = controlPaths(innerPid, uid, namespace)
    // A service may have a /tmp of its own (systemd's PrivateTmp), or a container's; root gets there by this way.
    for (const file of [...files, ...files.map(file => `/proc/${pid}/root${file}`)]) {
      const failure = await attempt(file, uid)
      if (failure === undefined) return file
      if (failure === 'EACCES' && uid === owner && own !== owner) {
        throw notYours(`process ${pid}`, owner)
      }
    }
  }
  throw noMaster(whyNot(pid))
}

/** Launchers are mistaken for the server that they have started, or have left behind: npx, npm, tsx. */
function whyNot(pid: number): string {
  if (!isAlive(pid)) {
    return `there is no process ${pid}; if that was npx or tsx, its server may run yet: name it by its directory, as "."`
  }
  const masters = allSockets().flatMap(file => /(\d+)\.sock$/.exec(file)?.[1] ?? [])
  const relatives = relativesOf(pid, masters.map(Number))
  return relatives.length > 0
    ? `process ${pid} runs, but it is not a master; it belongs to one: name ${relatives.join(' or ')} instead`
    : `process ${pid} runs, but it is not a master, or cannot be reached`
}

/** @returns undefined if a process of this user accepts there; else the error's code */
async function attempt(file: string, uid: number): Promise<string | undefined> {
  try {
    if (whyNotPrivate(path.dirname(file), uid) !== undefined) return 'EPERM' // somebody poses as a master
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
  return probe(file)
}

/** Of this user's masters, or for root of all, the one that serves from a directory. */
async function masterOfDirectory(directory: string): Promise<string> {
  const wanted = namesOf(directory)
  const found: { readonly file: string; readonly pid: number }[] = []
  let silent = 0
  const visits = allSockets().map(async file => {
    if ((await probe(file)) !== undefined) return
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
      .filter(file => pidOf(file) !== undefined)
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
