import { spawn } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { type Socket, SocketAddress } from 'node:net'
import { endianness } from 'node:os'
import { GracefulUpgradeError } from './errors.js'
import type { Log } from './log.js'
import type { OpenListener } from './protocol.js'

/** What systemd says to the main process of a service; a worker must not take it for its own. */
export const systemdVariables = [
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'LISTEN_PID',
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID'
] as const

/** A listening socket of a .socket unit; its key is `fd:N`. */
export interface SystemdListener extends OpenListener {
  /** FileDescriptorName= of the .socket unit, or the unit's own name. */
  readonly name?: string
}

/** SD_LISTEN_FDS_START */
const firstDescriptor = 3

/**
 * The sockets that systemd has passed on to this process: sd_listen_fds(3).
 * @param pid the process that they are for; where they are another one's, there are none
 * @throws GRACEFUL_UPGRADE_LISTEN_FDS if one of them isn't a listening stream socket
 */
export function listenersOfSystemd(env: NodeJS.ProcessEnv, pid: number): SystemdListener[] {
  const { LISTEN_FDS: count, LISTEN_PID: receiver, LISTEN_FDNAMES: names = '' } = env
  if (count === undefined || receiver !== String(pid)) return []
  if (!/^\d{1,5}$/.test(count)) throw unusable(`LISTEN_FDS is '${count}', which is no number`)
  if (process.platform !== 'linux' && Number(count) > 0) throw unusable('they are found on Linux only')

  const ours = listeningSockets('/proc/self/net')
  return Array.from({ length: Number(count) }, (_, index) => {
    const fd = firstDescriptor + index
    const name = names.split(':')[index]
    const inode = inodeOf(fd, name)
    // With PrivateNetwork=yes the socket is of systemd's network namespace, and not of ours.
    const bound = ours.get(inode) ?? listeningSockets('/proc/1/net').get(inode)
    if (bound === undefined) {
      const detail = 'no stream socket that listens: the .socket unit needs ListenStream= and Accept=no'
      throw unusable(`${spell(fd, name)} is ${detail}`)
    }
    return { key: `fd:${fd}`, bound, fd, ...(name ? { name } : {}) }
  })
}

function inodeOf(fd: number, name: string | undefined): string {
  let target: string
  try {
    target = readlinkSync(`/proc/self/fd/${fd}`)
  } catch (error) {
    throw unusable(`${spell(fd, name)} is not open, though LISTEN_FDS says so`, error)
  }
  const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
  if (inode === undefined) throw unusable(`${spell(fd, name)} is no socket but ${target}`)
  return inode
}

function spell(fd: number, name: string | undefined): string {
  return name ? `descriptor ${fd} (${name})` : `descriptor ${fd}`
}

function unusable(detail: string, cause?: unknown): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_LISTEN_FDS', detail, cause ? { cause } : {})
}

/**
 * Where the listening stream sockets of a network namespace are bound, by their inode: proc_net(5). To ask the
 * descriptor itself would need a handle of Node.js, and that closes the descriptor at its end.
 */
function listeningSockets(directory: string): Map<string, string> {
  const bound = new Map<string, string>()
  for (const table of ['tcp', 'tcp6']) {
    for (const line of linesOf(`${directory}/${table}`)) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
      if (state === '0A') bound.set(inode, tcpAddress(local))
    }
  }
  for (const line of linesOf(`${directory}/unix`)) {
    const [, flags, type, inode = '', file = ''] =
      /^\S+ \S+ \S+ (\S+) (\S+) \S+ +(\d+) ?(.*)$/.exec(line) ?? []
    const listens = (Number.parseInt(flags ?? '', 16) & 0x10000) !== 0 // __SO_ACCEPTCON
    if (listens && type === '0001') bound.set(inode, file.replace(/^@/, '\0'))
  }
  return bound
}

/** @returns none where there is no such table: without IPv6, or with ProtectProc= */
function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(1)
  } catch {
    return []
  }
}

/** @param local `0100007F:0BB8`: words of 32 bits in the order of this machine, then the port */
function tcpAddress(local: string): string {
  const [hex = '', port = ''] = local.split(':')
  const bytes = Buffer.from(hex, 'hex')
  if (endianness() === 'LE') bytes.swap32()
  const suffix = `:${Number.parseInt(port, 16)}`
  if (bytes.length === 4) return bytes.join('.') + suffix
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16))
  return `[${new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address}]${suffix}`
}

/** Tells systemd how the service is: sd_notify(3). Returns at once, never throws; messages keep their order. */
export interface Notifier {
  /** The service serves; from now on the watchdog is told that the event loop of this process turns. */
  ready(status: string): void
  /** An upgrade has begun; `ready()` ends it, whether it succeeded or not. */
  reloading(): void
  /** The service is about to end. */
  stopping(): void
  /** What `systemctl status` shows, in one line. */
  status(text: string): void
  /** The watchdog is told no more. */
  close(): void
}

/** `NAME=VALUE`, as they go into one message. */
type Message = Map<string, string>

/** In milliseconds; the tool itself waits 5 s for systemd to have read a message. */
const toolTimeout = 10_000
/** In UTF-16 units: systemd reads 4096 bytes of a message. */
const longestStatus = 1_000

/**
 * Node.js has no Unix datagram sockets, so each message is sent by the tool `systemd-notify`. That is another
 * process than the main one, so the unit needs NotifyAccess=all. It ends when systemd has read the message, and
 * the next one is sent then; what comes meanwhile goes into one message as far as it may.
 *
 * The tool keeps no process alive: what isn't under way when this one ends is not sent.
 * @param env not read later: `systemdVariables` may be deleted
 */
export function createNotifier(env: NodeJS.ProcessEnv, log: Pick<Log, 'warn'>): Notifier {
  const { PATH, NOTIFY_SOCKET } = env
  if (!NOTIFY_SOCKET) return silent
  const period = watchdogPeriod(env)
  const pending: Message[] = []
  let underway = false
  let hasWarned = false
  let watchdog: NodeJS.Timeout | undefined

  return {
    ready(status) {
      say(['READY', '1'], ['STATUS', oneLine(status)])
      if (period !== undefined) watchdog ??= setInterval(() => add('WATCHDOG', '1'), period).unref()
    },
    reloading() {
      // The clock of process.hrtime is CLOCK_MONOTONIC; systemd ignores what was sent before its own SIGHUP.
      say(['RELOADING', '1'], ['MONOTONIC_USEC', String(process.hrtime.bigint() / 1_000n)])
    },
    stopping: () => say(['STOPPING', '1']),
    status: text => add('STATUS', oneLine(text)),
    close() {
      clearInterval(watchdog)
      watchdog = undefined
    }
  }

  /** A state of the service is a message of its own: each of them must be seen, in their order. */
  function say(...assignments: [string, string][]): void {
    pending.push(new Map(assignments))
    send()
  }

  /** Anything else goes with what still waits, and replaces what is out of date. */
  function add(name: string, value: string): void {
    const last = pending.at(-1)
    if (last === undefined) say([name, value])
    else last.set(name, value)
  }

  function send(): void {
    const message = underway ? undefined : pending.shift()
    if (message === undefined) return
    underway = true
    const assignments = Array.from(message, ([name, value]) => `${name}=${value}`)
    run(assignments, { PATH, NOTIFY_SOCKET }, error => {
      underway = false
      if (error !== undefined) warn(error, assignments)
      send()
    })
  }

  function warn(err: Error, message: string[]): void {
    if (hasWarned) return
    hasWarned = true
    log.warn({ err, message }, 'systemd could not be notified')
  }
}

const silent: Notifier = { ready() {}, reloading() {}, stopping() {}, status() {}, close() {} }

/** @param done called once, and never before this function has returned */
function run(assignments: string[], env: NodeJS.ProcessEnv, done: (error?: Error) => void): void {
  let isDone = false
  const settle = (error?: Error) => {
    if (!isDone) done(error)
    isDone = true
  }
  try {
    const signal = AbortSignal.timeout(toolTimeout)
    const child = spawn('systemd-notify', assignments, {
      env,
      signal,
      killSignal: 'SIGKILL',
      stdio: ['ignore', 'ignore', 'pipe']
    })
    child.unref()
    const stderr = child.stderr as Socket
    stderr.unref()
    let words = ''
    stderr.setEncoding('utf8').on('data', chunk => {
      words = (words + chunk).slice(0, 1_000)
    })
    child.once('error', settle)
    child.once('close', (code, killer) => {
      settle(
        code === 0 ? undefined : new Error(`systemd-notify ended with ${killer ?? code}: ${words.trim()}`)
      )
    })
  } catch (error) {
    process.nextTick(done, error)
  }
}

/** In milliseconds: half of what systemd allows. @returns undefined where it doesn't watch this process */
function watchdogPeriod({ WATCHDOG_USEC, WATCHDOG_PID }: NodeJS.ProcessEnv): number | undefined {
  if (!/^[1-9]\d*$/.test(WATCHDOG_USEC ?? '')) return undefined
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(process.pid)) return undefined
  return Math.min(Math.max(Number(WATCHDOG_USEC) / 2_000, 1), 0x7fffffff)
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').slice(0, longestStatus)
}
