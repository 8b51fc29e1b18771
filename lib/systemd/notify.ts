import type { Log } from '../log.js'
import { sendByTool } from './notify-tool.js'
import { createOutbox, type Send } from './outbox.js'

/** Tells systemd how the service is: sd_notify(3). Returns at once, never throws; messages keep their order. */
export interface Notifier {
  /** The service serves; from now on the watchdog is told that the event loop of this process turns. */
  ready(status: string): void
  /** An upgrade has begun; `ready()` ends it, whether it succeeded or not. */
  reloading(): void
  /** The service is about to end. @param ms so long that may take, be it longer than `TimeoutStopSec` */
  stopping(ms: number): void
  /** What `systemctl status` shows, in one line. */
  status(text: string): void
  /** The watchdog is told no more. */
  close(): void
}

/** In UTF-16 units: systemd reads 4096 bytes of a message. */
const longestStatus = 1_000

/**
 * What comes while a message is under way goes into one message as far as it may.
 * @param env not read later: `systemdVariables` may be deleted
 * @param sendWith how messages get to the socket of `env`
 */
export function createNotifier(
  env: NodeJS.ProcessEnv,
  log: Pick<Log, 'warn'>,
  sendWith: (env: NodeJS.ProcessEnv) => Send = sendByTool
): Notifier {
  const { PATH, NOTIFY_SOCKET } = env
  if (!NOTIFY_SOCKET) return silent
  const period = watchdogPeriod(env)
  const { say, add } = createOutbox(sendWith({ PATH, NOTIFY_SOCKET }), warn)
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
    stopping: ms => say(['STOPPING', '1'], ['EXTEND_TIMEOUT_USEC', String(Math.ceil(ms * 1_000))]),
    status: text => add('STATUS', oneLine(text)),
    close() {
      clearInterval(watchdog)
      watchdog = undefined
    }
  }

  function warn(err: Error, message: readonly string[]): void {
    if (hasWarned) return
    hasWarned = true
    log.warn({ err, message }, 'systemd could not be notified')
  }
}

const silent: Notifier = { ready() {}, reloading() {}, stopping() {}, status() {}, close() {} }

/** In milliseconds: half of what systemd allows. @returns undefined where it doesn't watch this process */
function watchdogPeriod({ WATCHDOG_USEC, WATCHDOG_PID }: NodeJS.ProcessEnv): number | undefined {
  if (!/^[1-9]\d*$/.test(WATCHDOG_USEC ?? '')) return undefined
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(process.pid)) return undefined
  return Math.min(Math.max(Number(WATCHDOG_USEC) / 2_000, 1), 0x7fffffff)
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ').slice(0, longestStatus)
}
