import { once } from 'node:events'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync
} from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname, resolve } from 'node:path'
import {
  type Answer,
  type Command,
  commands,
  controlPaths,
  knock,
  longestRequest,
  type Progress,
  type Refusal,
  readRequest,
  type Status,
  splitLines,
  whyNotPrivate
} from './control.js'
import { GracefulUpgradeError } from './errors.js'
import { hide } from './hidden-servers.js'
import { longestSocketPath, moveIntoPlace, type UnixSocketFile } from './unix-socket.js'

/** What a master does when it is asked to. */
export interface ControlHandlers {
  status(): Promise<Status>
  /** Resolves when the old generation has retired, or the upgrade is over otherwise; rejects with a GracefulUpgradeError. */
  reload(onProgress: (progress: Progress) => void): Promise<void>
  /** Drains and ends everything; resolves when all has ended, just before the process exits. */
  stop(): Promise<void>
}

/** The control socket of this process. It keeps no process alive. */
export interface Control {
  readonly path: string
  /** Removes the socket's file, if it is still ours, and ends all connections. Synchronous: 'exit' may call it. */
  close(): void
}

/** Longest time a client may take for its request, in milliseconds, and then for reading the last answer. */
const patience = 5_000
const mostConnections = 32
/** What may wait for a client that doesn't read, in bytes. */
const mostUnread = 64 * 1_024

/**
 * Opens the control socket of this process; only its user, and root, can connect.
 * @param where a path in a directory that exists; or several, of which the first that works is taken, each in a
 * directory of this user's own, which is made if need be. @default controlPaths()
 * @param pid of this process, or of the init that others know it by
 * @throws GRACEFUL_UPGRADE_CONTROL_SOCKET
 */
export async function openControl(
  handlers: ControlHandlers,
  where?: string | readonly string[],
  pid = process.pid
): Promise<Control> {
  const uid = process.geteuid?.()
  if (uid === undefined) throw unusable([new Error('there are no Unix sockets here')])
  const reasons: Error[] = []
  const files = typeof where === 'string' ? [resolve(where)] : (where ?? controlPaths(pid, uid))
  for (const file of files) {
    try {
      if (typeof where === 'string') checkDirectory(dirname(file))
      else makePrivate(dirname(file), uid)
      const control = await open(handlers, file)
      if (typeof where !== 'string') removeStale(dirname(file)).catch(() => {}) // another master does it, too
      return control
    } catch (error) {
      reasons.push(error as Error)
    }
  }
  throw unusable(reasons)
}

function unusable(reasons: readonly Error[]): GracefulUpgradeError {
  const detail = reasons.map(({ message }) => message).join('; ')
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_CONTROL_SOCKET', detail, { cause: reasons.at(-1) })
}

function makePrivate(directory: string, uid: number): void {
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const reason = whyNotPrivate(directory, uid)
  if (reason !== undefined) throw new Error(reason)
}

/** What masters that were killed have left behind; whoever listens yet may be of another PID namespace. */
async function removeStale(directory: string): Promise<void> {
  const names = readdirSync(directory)
  for (const name of names.filter(name => /^\d+\.sock$/.test(name))) {
    const file = `${directory}/${name}`
    if (lstatSync(file).isSocket() && (await knock(file)) === 'ECONNREFUSED') rmSync(file, { force: true })
  }
  for (const name of names.filter(name => /^\.\w{6}$/.test(name))) {
    const temporary = `${directory}/${name}` // of bind(), which takes no time
    if (Date.now() - lstatSync(temporary).mtimeMs > 60_000)
      rmSync(temporary, { recursive: true, force: true })
  }
}

/** Others may write to it only where they can't rename what is ours. */
function checkDirectory(directory: string): void {
  const { mode } = statSync(directory)
  const isSticky = (mode & 0o1000) !== 0
  if ((mode & 0o002) !== 0 && !isSticky) throw new Error(`everybody may write to ${directory}`)
}

async function open(handlers: ControlHandlers, asked: string): Promise<Control> {
  await checkFree(asked)
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, onConnection)
  const file = await bind(server, asked)
  server.on('error', () => {}) // of accept(): no descriptor is left
  server.unref()
  return { path: file.path, close }

  function onConnection(socket: Socket): void {
    socket.unref()
    socket.on('error', () => {})
    if (sockets.size >= mostConnections) return refuse(socket, 'there are too many connections')
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    converse(socket, handlers)
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

/** @throws if there is anything but the socket of a dead process */
async function checkFree(file: string): Promise<void> {
  const stat = lstatSync(file, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new Error(`${file} is there already, and is not a socket`)
  const code = await knock(file)
  if (code === undefined) throw new Error(`another server listens on ${file}`)
  if (code !== 'ECONNREFUSED' && code !== 'ENOENT') throw new Error(`${file} is there already (${code})`)
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
    await once(server.listen({ path: temporary, exclusive: true }), 'listening')
    chmodSync(temporary, 0o600)
    return moveIntoPlace(temporary, asked)
  } catch (error) {
    server.close()
    throw error
  } finally {
    rmdirSync(directory) // empty: the socket has been moved, or removed by its close()
  }
}

function converse(socket: Socket, handlers: ControlHandlers): void {
  const split = splitLines(longestRequest)
  let isAsked = false
  let surplus = 0
  const deadline = setTimeout(finish, patience, socket).unref()
  socket.once('close', () => clearTimeout(deadline))
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
    clearTimeout(deadline)
    const command = readRequest(lines?.[0] ?? '')
    if (command !== undefined) void answer(socket, command, handlers)
    else refuse(socket, `a request is {"command":${commands.map(name => `"${name}"`).join('|')}} in one line`)
  })
}

async function answer(socket: Socket, command: Command, handlers: ControlHandlers): Promise<void> {
  try {
    const result =
      command === 'reload'
        ? await handlers.reload(progress => tell(socket, { progress }))
        : await handlers[command]()
    tell(socket, { result: result ?? null })
    if (command === 'stop') return // who asked for it waits for an end of file, which is the end of the process
  } catch (error) {
    tell(socket, { error: describe(error as Error) })
  }
  finish(socket)
}

function refuse(socket: Socket, detail: string): void {
  tell(socket, { error: describe(new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)) })
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
  socket.write(`${JSON.stringify(answer)}\n`)
  if (socket.writableLength > mostUnread) socket.destroy()
}

/** What has been told goes out, if the client reads it. */
function finish(socket: Socket): void {
  socket.destroySoon()
  const deadline = setTimeout(() => socket.destroy(), patience).unref()
  socket.once('close', () => clearTimeout(deadline))
}
