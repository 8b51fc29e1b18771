import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Log } from './log.js'

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
