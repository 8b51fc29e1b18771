const messages = {
  GRACEFUL_UPGRADE_INVALID_OPTION: 'an option of fastify-graceful-upgrade is invalid',
  GRACEFUL_UPGRADE_IN_PROGRESS:
    'an upgrade is running already: wait until it is ready or has failed, then ask again',
  GRACEFUL_UPGRADE_NOT_SERVING: 'only a generation that listens, and is not on its way out, can be upgraded',
  GRACEFUL_UPGRADE_CLOSING: 'the server is shutting down: the upgrade was given up',
  GRACEFUL_UPGRADE_UNSUPPORTED: 'an upgrade is not possible here',
  GRACEFUL_UPGRADE_SPAWN_FAILED: 'the next generation could not be started',
  GRACEFUL_UPGRADE_EXITED: 'the next generation ended before it was ready',
  GRACEFUL_UPGRADE_READY_TIMEOUT: 'the next generation was not ready in time',
  GRACEFUL_UPGRADE_MASTER_LOST: 'the master went away before it answered',
  GRACEFUL_UPGRADE_DUPLICATE: 'two copies of fastify-graceful-upgrade are loaded in this process',
  GRACEFUL_UPGRADE_USAGE: 'graceful-upgrade was called with what it does not understand',
  GRACEFUL_UPGRADE_PID_FILE: 'the pid file cannot be used',
  GRACEFUL_UPGRADE_CONTROL_SOCKET: 'the control socket cannot be used',
  GRACEFUL_UPGRADE_NO_MASTER: 'no running server was found there',
  GRACEFUL_UPGRADE_LISTEN_FDS: 'the sockets that systemd passes on cannot be used',
  GRACEFUL_UPGRADE_GAVE_UP: 'the server died again and again, and is not started any more'
} as const

export type ErrorCode = keyof typeof messages

/** What this package throws and rejects with; `code` is one of the table above. */
export class GracefulUpgradeError extends Error {
  override readonly name = 'GracefulUpgradeError'
  readonly code: ErrorCode
  /** The last lines that a failed generation wrote to its standard error. */
  readonly lastWords?: string

  /** @param detail what was attempted and what to do; put behind the code's own sentence */
  constructor(code: ErrorCode, detail?: string, options?: ErrorOptions & { lastWords?: string }) {
    super(detail === undefined ? messages[code] : `${messages[code]}: ${detail}`, options)
    this.code = code
    if (options?.lastWords) this.lastWords = options.lastWords
  }
}

/** The error of another process, in its own words. */
export function receivedError(code: ErrorCode, message: string, lastWords?: string): GracefulUpgradeError {
  const error = new GracefulUpgradeError(code, undefined, lastWords === undefined ? {} : { lastWords })
  error.message = message
  return error
}

/** Whether a string that came in from another process is one of our codes. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(messages, code)
}
