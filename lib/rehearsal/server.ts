import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { findMaster } from '../client/find.js'
import { askStatus } from '../client/watch.js'
import { GracefulUpgradeError } from '../errors.js'
import type { ListenerAddress } from '../listeners/address.js'
import { createDeferred } from '../time/deferred.js'
import { createAnnouncements } from './announcements.js'
import { type Guard, guardGroup } from './guard.js'
import { createOutput, type Output } from './output.js'

/** How the application is started. */
export interface Start {
  readonly command: string
  readonly args: readonly string[]
  readonly env: NodeJS.ProcessEnv
  readonly directory: string
  /** `announce.ts` as it was built: it is loaded into each process before its own code. */
  readonly announcer: string
  /** The process that is started is the application itself, and no master of it. */
  readonly isAlone: boolean
  /** It is known to have no use for this plugin. */
  readonly isPlain?: boolean
}

/** An application that serves. */
export interface Serving {
  /** Where it is asked for an upgrade; undefined if it has no use for this plugin. */
  readonly control?: string
  /** By the names under which they were asked for, where these are known. */
  readonly listeners: readonly (Pick<ListenerAddress, 'bound'> & Partial<ListenerAddress>)[]
  readonly generation: number
}

/** How a process has ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** The application, in a group of processes of its own. */
export interface Server {
  /** Of its master, or of the process that serves. */
  readonly pid: number
  readonly output: Output
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>
  /** It serves when this resolves. @throws GRACEFUL_UPGRADE_REHEARSAL if it doesn't come up */
  serving(signal: AbortSignal): Promise<Serving>
  /** SIGTERM, and SIGKILL to what is left of its group. @param limit in milliseconds @returns whether it ended in time */
  stop(limit: number): Promise<boolean>
  /** SIGKILL to all of its group. */
  kill(): Promise<void>
}

/** Between two looks whether it serves, in milliseconds. */
const interval = 25

/** Whoever has listened for so long without this plugin has no use for it, in milliseconds. */
const patience = 3_000

export function startServer({ command, args, env, directory, announcer, isAlone, isPlain }: Start): Server {
  const announcements = createAnnouncements(env, { program: announcer, patience: isPlain ? 0 : patience })
  const child = spawn(command, args, {
    cwd: directory,
    env: announcements.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true // it leads a group, all of which is ended; and Ctrl-C is ours
  })
  const output = createOutput(child)
  const exit = createDeferred<Exit>()
  let ended: Exit | undefined
  let failure: Error | undefined
  child.on('error', error => {
    failure = error
    end({ code: null, signal: null })
  })
  child.on('exit', (code, signal) => end({ code, signal }))
  const guard: Guard | undefined =
    child.pid === undefined ? undefined : guardGroup(child.pid, announcements.folder)
  return { pid: child.pid ?? 0, output, exited: exit.promise, serving, stop, kill }

  function end(how: Exit): void {
    ended ??= how
    exit.resolve(how)
  }

  async function serving(signal: AbortSignal): Promise<Serving> {
    for (;;) {
      signal.throwIfAborted()
      if (ended !== undefined) throw await notUp(ended)
      const found = (await look()) ?? lookWithout()
      if (found !== undefined) return found
      await sleep(interval)
    }
  }

  /** Whoever is asked too early has no control socket yet. */
  async function look(): Promise<Serving | undefined> {
    try {
      const control = await findMaster(String(child.pid))
      const { state, listeners, generations } = await askStatus(control)
      if (state !== 'serving') return undefined
      return { control, listeners, generation: generations[0]?.generation ?? 1 }
    } catch (error) {
      if (error instanceof GracefulUpgradeError) return undefined
      throw error
    }
  }

  function lookWithout(): Serving | undefined {
    const places = announcements.unregistered(isAlone ? undefined : child.pid)
    return places && { listeners: places.map(bound => ({ bound })), generation: 1 }
  }

  async function notUp({ code, signal }: Exit): Promise<GracefulUpgradeError> {
    await output.closed
    const how = signal === null ? `it ended with exit code ${code}` : `${signal} ended it`
    const why = failure?.message ?? output.complaints().at(-1) ?? how
    const lastWords = output.lastWords()
    return new GracefulUpgradeError('GRACEFUL_UPGRADE_REHEARSAL', `the application did not start: ${why}`, {
      ...(lastWords !== '' && { lastWords })
    })
  }

  async function stop(limit: number): Promise<boolean> {
    if (ended === undefined) child.kill('SIGTERM')
    const timer = new AbortController()
    const isInTime = await Promise.race([
      exit.promise.then(() => true),
      sleep(limit, false, { signal: timer.signal })
    ])
    timer.abort()
    await kill()
    return isInTime
  }

  async function kill(): Promise<void> {
    killGroup(child)
    if (child.pid !== undefined) await exit.promise
    killGroup(child) // what it has started in its last moment
    guard?.dismiss()
    announcements.close()
    output.close()
  }
}

/** The id of a group stays as long as there is a process in it, also when its leader has ended. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {} // nobody is left
}
