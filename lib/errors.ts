const messages = {
  GRACEFUL_UPGRADE_INVALID_OPTION: 'an option of fastify-graceful-upgrade is invalid',
  GRACEFUL_UPGRADE_IN_PROGRESS:
    'an upgrade, or another change, is under way: wait until it is done or has failed, then ask again',
  GRACEFUL_UPGRADE_NOT_SERVING: 'only a generation that listens, and is not on its way out, can be upgraded',
  GRACEFUL_UPGRADE_CLOSING: 'the server is shutting down: what was asked for is given up',
  GRACEFUL_UPGRADE_UNSUPPORTED: 'this is not possible here',
  GRACEFUL_UPGRADE_SPAWN_FAILED: 'the new process could not be started',
  GRACEFUL_UPGRADE_EXITED: 'the new process ended before it was ready',
  GRACEFUL_UPGRADE_READY_TIMEOUT: 'the new process was not ready in time',
  GRACEFUL_UPGRADE_CHECK_FAILED: 'the new process does not pass its check',
  GRACEFUL_UPGRADE_ON_PROBATION:
    'a new generation is on probation: wait, or end that by graceful-upgrade confirm or rollback',
  GRACEFUL_UPGRADE_ROLLED_BACK: 'the new generation was taken back',
  GRACEFUL_UPGRADE_NO_PROBATION: 'no generation is on probation',
  GRACEFUL_UPGRADE_MASTER_LOST: 'the master did not answer',
  GRACEFUL_UPGRADE_DUPLICATE: 'two copies of fastify-graceful-upgrade are loaded in this process',
  GRACEFUL_UPGRADE_ALREADY_REGISTERED:
    'fastify-graceful-upgrade is registered on this server already: register it once, on the server itself; all of its plugins have app.gracefulUpgrade then',
  GRACEFUL_UPGRADE_USAGE: 'this command line cannot be used',
  GRACEFUL_UPGRADE_PID_FILE: 'the pid file cannot be used',
  GRACEFUL_UPGRADE_CONTROL_SOCKET: 'the control socket cannot be used',
  GRACEFUL_UPGRADE_NO_MASTER: 'no running server was found there',
  GRACEFUL_UPGRADE_CUT: 'the new generation serves, but connections of the old one were cut',
  GRACEFUL_UPGRADE_REHEARSAL: 'the rehearsal could not be run',
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
    super(
      detail === undefined ? messages[code] : `${messages[code]}: ${detail}`,
      // Pino puts a cause's words behind the text: what is in it already would stand there twice.
      isIn(detail, options?.cause) ? undefined : options
    )
    this.code = code
    if (options?.lastWords) this.lastWords = options.lastWords
  }
}

function isIn(detail: string | undefined, cause: unknown): boolean {
  return cause instanceof Error && detail?.includes(cause.message) === true
}

/** By what the permission model of Node.js allows what it has forbidden. */
const permissionFlags: Record<string, string> = {
  ChildProcess: '--allow-child-process',
  FileSystemRead: '--allow-fs-read',
  FileSystemWrite: '--allow-fs-write'
}

/** What Node.js says of an error; if its permission model is the reason, also what is forbidden, and how it is allowed. */
export function reasonOf(error: Error): string {
  const { message, permission, resource } = error as Error & { permission?: string; resource?: string }
  const flag = permissionFlags[permission ?? '']
  if (flag === undefined) return message
  const where = resource?.startsWith('/') ? resource : undefined
  if (message.includes(flag)) return where === undefined ? message : `${message} (${where})`
  return `${message} (start Node.js with ${flag}${where === undefined ? '' : `=${where}`})` // Node.js 20 names no flag
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
