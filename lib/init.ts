import { accessSync, constants, readFileSync } from 'node:fs'

/**
 * PID 1 gets the orphans of all others for its children, and has to wait for each, or they stay as zombies; Node.js can
 * wait only for what it has started itself. A shell waits for any: so where this program is PID 1 it becomes the shell
 * below, which starts it once more, as its child, passes signals on to it, and ends with its code.
 *
 * No comments in it, as `ps` shows it all. It is POSIX, and tried with dash, bash and busybox.
 */
const script = [
  // Until there is a master, what would end it ends the shell: PID 1 has no default actions.
  "trap 'exit 143' TERM; trap 'exit 130' INT; trap 'exit 131' QUIT; trap : HUP USR1 USR2",
  // By way of another descriptor: a shell without job control gives /dev/null to what it starts in the background.
  '{ "$@" <&9 9<&- & } 9<&0',
  'master=$!',
  // Without job control bash falls into an endless loop if SIGINT interrupts `wait` for the second time (5.2).
  '[ "$BASH_VERSION" ] && set -m',
  'for signal in TERM INT QUIT HUP USR1 USR2; do',
  '  trap "signalled=1; kill -s $signal $master 2> /dev/null" $signal',
  'done',
  'while :; do',
  '  signalled=',
  '  wait $master; code=$?',
  '  [ "$signalled" ] || exit $code',
  // A signal ends `wait` too: the master lives, or is a zombie that nobody has waited for.
  '  kill -0 $master 2> /dev/null && continue',
  // It ended at that very moment: the shell has its code yet (bash), or has said it already (dash), and says 127 now.
  '  wait $master 2> /dev/null; last=$?',
  '  [ $last -eq 127 ] || code=$last',
  '  exit $code',
  'done'
].join('\n')

const shell = '/bin/sh'

/** Since Node.js 22.15. */
type Execve = (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => never

/**
 * Replaces this process by an init that starts `command` as its child.
 * @returns only where it can't be had: the reason
 */
export function becomeInit(command: readonly string[], environment: NodeJS.ProcessEnv): string {
  const { execve } = process as { execve?: Execve }
  if (execve === undefined) return `Node.js ${process.version} has no process.execve()`
  try {
    accessSync(shell, constants.X_OK) // Node.js aborts if execve() fails
  } catch {
    return `there is no ${shell}`
  }
  return execve(shell, ['sh', '-c', script, 'graceful-upgrade', ...command], environment)
}

/** Whether the parent of this process is such an init, which has started it. */
export function isUnderInit(): boolean {
  if (process.ppid !== 1) return false
  try {
    const [, , running, , ...command] = words('/proc/1/cmdline')
    return running === script && command.join('\0') === words('/proc/self/cmdline').join('\0')
  } catch {
    return false
  }
}

function words(file: string): string[] {
  return readFileSync(file, 'utf8').split('\0')
}
