import { existsSync, realpathSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { RestartContext } from './restart-context.js'

/**
 * Starts the release that is there now, also when a link to it is flipped later: a worker that takes the place of another
 * one of its generation must run the same code as its siblings.
 * @returns the context as it is while it leads there, then the same with real paths
 */
export function pinRelease(context: RestartContext): () => RestartContext {
  const pinned = withRealPaths(context)
  return () => {
    const now = withRealPaths(context)
    const isSame =
      now.directory === pinned.directory && now.args.every((word, index) => word === pinned.args[index])
    return isSame ? context : pinned
  }
}

/** Where the code is, without links: the script, or else the directory. */
export function placeOf(context: RestartContext): string {
  const { directory, args, main } = withRealPaths(context)
  const script = main === undefined ? undefined : resolve(directory, args[main] ?? '')
  // There it is a tool, as fastify-cli, which runs what is in the directory.
  return script === undefined || script.includes('/node_modules/') ? directory : script
}

/** Node.js adds the ending of a script where it is left out. */
export function isThere(place: string): boolean {
  return ['', '.js', '.cjs', '.mjs', '.json'].some(ending => existsSync(place + ending))
}

function withRealPaths(context: RestartContext): RestartContext {
  const { directory, args, main, environment } = context
  const real = realOf(directory)
  const script = main === undefined ? undefined : args[main]
  return {
    ...context,
    directory: real,
    environment: environment.PWD === directory ? { ...environment, PWD: real } : environment,
    args: main !== undefined && script ? args.with(main, pinScript(script, directory, real)) : args
  }
}

/** A relative one has links of its own, or is found from the real directory as well. */
function pinScript(script: string, directory: string, real: string): string {
  const found = realScript(resolve(directory, script))
  return found === resolve(real, script) ? script : found
}

/** Node.js adds the ending where it is left out: the directory is what can be a link then. */
function realScript(script: string): string {
  return existsSync(script)
    ? realOf(script)
    : resolve(realOf(dirname(script)), script.slice(dirname(script).length + 1))
}

function realOf(path: string): string {
  try {
    return realpathSync.native(path)
  } catch {
    return path // it is gone: the start says so
  }
}
