import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmdirSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, resolve } from 'node:path'
import { GracefulUpgradeError, reasonOf } from '../errors.js'
import { hide } from '../listeners/own-servers.js'
import { longestSocketPath, moveIntoPlace, type UnixSocketFile } from '../listeners/unix-socket.js'
import { converse, finish, type Run, refuse } from './conversation.js'
import type { Progress, Status } from './messages.js'
import { checkFree, controlPaths, removeStale } from './place.js'
import { checkPath, makePrivate } from './trusted-directory.js'

/** What a master does when it is asked to. */
export interface ControlHandlers {
  status(): Promise<Status>
  /** In the text format of OpenMetrics. */
  metrics(): Promise<string>
  /** Resolves when the old generation has retired, or the upgrade is over otherwise; rejects with a GracefulUpgradeError. */
  reload(onProgress: (progress: Progress) => void): Promise<void>
  /** The generation on probation is good, or it isn't; rejects with a GracefulUpgradeError. */
  confirm(): Promise<void>
  rollback(): Promise<void>
  /** To so many workers, as `Request` says it. Resolves with the number that serve then; rejects with a GracefulUpgradeError. */
  scale(workers: string, onProgress: (progress: Progress) => void): Promise<number>
  /** Drains and ends everything; resolves when all has ended, just before the process exits. */
  stop(): Promise<void>
}

/** The control socket of this process. It keeps no process alive. */
export interface Control {
  readonly path: string
  /** Removes the socket's file, if it is still ours, and ends all connections. Synchronous: 'exit' may call it. */
  close(): void
}

const mostConnections = 32

/** Of those, and of others that are told that they are too many. */
const mostSockets = 2 * mostConnections

/**
 * Opens the control socket of this process; only its user, and root, can connect.
 * @param where a path in a directory that exists; or several, of which the first that works is taken, each in a
 * directory of this user's own, which is made if need be. @default controlPaths()
 * @throws GRACEFUL_UPGRADE_CONTROL_SOCKET
 */
export async function openControl(
  handlers: ControlHandlers,
  where?: string | readonly string[]
): Promise<Control> {
  const uid = process.geteuid?.()
  if (uid === undefined) throw unusable([new Error('there are no Unix sockets here')])
  const reasons: Error[] = []
  const files = typeof where === 'string' ? [resolve(where)] : (where ?? controlPaths(process.pid, uid))
  for (const file of files) {
    // The application has given up its rights, as may be done once a port is bound: it is another user's socket now.
    if (process.geteuid?.() !== uid) return openControl(handlers, where)
    try {
      if (typeof where === 'string') checkPath(dirname(file), uid)
      else makePrivate(dirname(file), uid)
      const control = await open(handlers, file)
      if (typeof where !== 'string') removeStale(dirname(file)).catch(() => {}) // another master does it, too
      return control
    } catch (error) {
      reasons.push(error as Error)
    }
  }
  if (process.geteuid?.() !== uid) return openControl(handlers, where)
  throw unusable(reasons)
}

function unusable(reasons: readonly Error[]): GracefulUpgradeError {
  const detail = [...new Set(reasons.map(reasonOf))].join('; ')
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_CONTROL_SOCKET', detail, { cause: reasons.at(-1) })
}

async function open(handlers: ControlHandlers, asked: string): Promise<Control> {
  await checkFree(asked)
  const run: Run = (request, onProgress) => {
    switch (request.command) {
      case 'reload':
        return handlers.reload(onProgress)
      case 'scale':
        return handlers.scale(request.workers, onProgress)
      default:
        return handlers[request.command]()
    }
  }
  const sockets = new Set<Socket>()
  let talks = 0
  const server = createServer({ allowHalfOpen: true }, onConnection)
  const file = await bind(server, asked)
  server.on('error', () => {}) // of accept(): no descriptor is left
  server.unref()
  return { path: file.path, close }

  function onConnection(socket: Socket): void {
    socket.unref()
    socket.on('error', () => {})
    if (sockets.size >= mostSockets) return void socket.destroy()
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    if (talks >= mostConnections) return refuse(socket, 'there are too many connections: ask again')
    talks++
    socket.once('close', () => talks--)
    converse(socket, run)
  }

  function close(): void {
    if (!server.listening) return
    try {
      file.remove()
    } catch {
      // It is not ours to remove any more: the process has changed its user.
    }
    server.close()
    for (const socket of sockets) finish(socket)
  }
}

/** Nobody else gets at the socket before its mode is set: until then it is in a directory that only we can open. */
async function bind(server: Server, asked: string): Promise<UnixSocketFile> {
  const prefix = `${dirname(asked)}/.` // in the same directory: its parent may be closed to us
  const longest = Math.max(Buffer.byteLength(asked), Buffer.byteLength(`${prefix}xxxxxx/s`))
  if (longest > longestSocketPath) {
    throw new Error(
      `${asked} is too long: it would take ${longest} bytes, and ${longestSocketPath} is the limit`
    )
  }
  const directory = mkdtempSync(prefix)
  const temporary = `${directory}/s`
  hide(server)
  try {
    server.listen({ path: temporary, exclusive: true })
    // All in one turn, in which the process stays the user that it is; there is an error to wait for otherwise.
    if (!server.listening) await once(server, 'listening')
    chmodSync(temporary, 0o600)
    return moveIntoPlace(temporary, asked)
  } catch (error) {
    server.close()
    throw error
  } finally {
    rmdirSync(directory) // empty: the socket has been moved, or removed by its close()
  }
}
