import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Status } from '../../lib/control/messages.js'
import { cleanEnvironment, cli } from './server.ts'

/** How a run of `graceful-upgrade` has ended. */
export interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** @param heard is told of everything that the program has said so far, and its pid */
export async function graceful(
  args: readonly string[],
  heard: (said: string, pid: number) => void = () => {}
): Promise<Said> {
  const program = promisify(execFile)(process.execPath, [cli, ...args], { env: cleanEnvironment() })
  let said = ''
  program.child.stdout!.on('data', chunk => heard((said += chunk), program.child.pid!))
  try {
    const { stdout, stderr } = await program
    return { code: 0, stdout, stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as unknown as Said
    return { code, stdout, stderr }
  }
}

export async function statusOf(pid: number): Promise<Status> {
  return JSON.parse((await graceful(['status', '--json', String(pid)])).stdout)
}
