import { errorMonitor } from 'node:events'
import type { Server } from 'node:net'
import type { Inherited } from './inherited.js'
import type { ListenOptions } from './listener-key.js'
import type { BoundPath } from './socket-files.js'
import { isSocketFile, temporaryName } from './unix-socket.js'

/** A `listen()` that is under way. */
export interface Attempt {
  readonly key: string
  /** Of a service manager. */
  readonly isForeign?: true
  readonly unix?: BoundPath
  /** Puts the options back to what the caller gave: Fastify copies them for its second server. */
  readonly restore: () => void
}

/** All `listen()` of this process that are under way: what they shall bind is decided when they begin. */
export interface Attempts {
  /** Changes `options`, if need be, to what is bound in the end. */
  begin(server: Server, options: ListenOptions, key: string): void
  /** The socket is bound. @returns undefined where nothing was decided */
  end(server: Server): Attempt | undefined
  keys(): string[]
}

export function createAttempts(inherited: Inherited): Attempts {
  const attempts = new Map<Server, Attempt>()
  return { begin, end, keys: () => [...attempts.values()].map(({ key }) => key) }

  function begin(server: Server, options: ListenOptions, key: string): void {
    const attempt = useInherited(server, options, key) ?? bindFile(options, key)
    if (attempt !== undefined) attempts.set(server, attempt)
    server.once(errorMonitor as unknown as 'error', onListenError)
  }

  function end(server: Server): Attempt | undefined {
    server.removeListener(errorMonitor as unknown as 'error', onListenError)
    const attempt = attempts.get(server)
    attempts.delete(server)
    attempt?.restore()
    return attempt
  }

  function onListenError(this: Server): void {
    end(this)
  }

  function useInherited(server: Server, options: ListenOptions, key: string): Attempt | undefined {
    const listener = inherited.claim(key)
    if (listener === undefined) return undefined
    const { fd, isForeign } = listener
    const { path: asked } = options
    const restore = exchange(options, 'fd', fd)
    inherited.accept(server, listener)
    return {
      key,
      restore,
      ...(isForeign && { isForeign }),
      ...(asked === undefined ? {} : { unix: { asked } })
    }
  }
}

/** @returns undefined where bind() will say why it can't be */
function bindFile(options: ListenOptions, key: string): Attempt | undefined {
  const { path: asked } = options
  if (asked === undefined || !key.startsWith('unix:') || !isSocketFile(asked)) return { key, restore() {} }
  const temporary = temporaryName(asked)
  if (temporary === undefined) return undefined
  return { key, restore: exchange(options, 'path', temporary), unix: { asked, temporary } }
}

/** @returns undoes it: what wasn't there is gone again */
function exchange<Name extends 'fd' | 'path'>(
  options: ListenOptions,
  name: Name,
  value: NonNullable<ListenOptions[Name]>
): () => void {
  const asked = options[name]
  options[name] = value
  return function restore() {
    if (asked === undefined) delete options[name]
    else options[name] = asked
  }
}
