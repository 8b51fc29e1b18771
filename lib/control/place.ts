import { existsSync, lstatSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { pidNamespace } from './pid-namespace.js'

/**
 * Where the control socket of a process may be, the best place first. Server and client are started from different
 * environments, so no variable has a say in it. Containers may share a directory, and each has its own process 1.
 * @param uid of the process
 * @param namespace of its id. @default that of this process
 */
export function controlPaths(pid: number, uid: number, namespace = pidNamespace()): string[] {
  const file = `${namespace === undefined ? '' : `${namespace}-`}${pid}.sock`
  const runtime = `/run/user/${uid}`
  return [
    ...(uid === 0 ? [`/run/graceful-upgrade/${file}`] : []),
    ...(existsSync(runtime) ? [`${runtime}/graceful-upgrade/${file}`] : []),
    `/tmp/graceful-upgrade-${uid}/${file}`
  ]
}

/** @returns the process that listens there, if it is one of `controlPaths()`, and of this process's PID namespace */
export function pidOf(file: string): number | undefined {
  const seen = /^\/proc\/(\d+)\/root\//.exec(file)?.[1]
  if (seen !== undefined) return Number(seen)
  const pattern = /\/graceful-upgrade(?:-\d+)?\/(?:(\d+)-)?([1-9]\d*)\.sock$/
  const [, namespace, pid] = pattern.exec(file) ?? []
  return pid !== undefined && namespace === pidNamespace() ? Number(pid) : undefined
}

/** @returns undefined if somebody accepts there; else the error's code, ECONNREFUSED where a dead process listened */
export function probe(file: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connect(file)
    socket.on('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => resolve(code))
    socket.on('connect', () => {
      // Not destroyed: whoever greets us would get an error, and may have nothing that takes it.
      socket.unref().resume().end()
      resolve(undefined)
    })
  })
}

/** What masters that were killed have left behind; whoever listens yet may be of another PID namespace. */
export async function removeStale(directory: string): Promise<void> {
  const names = readdirSync(directory)
  for (const name of names.filter(name => /^(?:\d+-)?\d+\.sock$/.test(name))) {
    const file = `${directory}/${name}`
    if (lstatSync(file).isSocket() && (await probe(file)) === 'ECONNREFUSED') rmSync(file, { force: true })
  }
  for (const name of names.filter(name => /^\.\w{6}$/.test(name))) {
    const temporary = `${directory}/${name}` // of bind(), which takes no time
    if (Date.now() - lstatSync(temporary).mtimeMs > 60_000)
      rmSync(temporary, { recursive: true, force: true })
  }
}

/** @throws if there is anything but the socket of a dead process */
export async function checkFree(file: string): Promise<void> {
  const stat = lstatSync(file, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new Error(`${file} is there already, and is not a socket`)
  const code = await probe(file)
  if (code === undefined) throw new Error(`another server listens on ${file}`)
  if (code !== 'ECONNREFUSED' && code !== 'ENOENT') throw new Error(`${file} is there already (${code})`)
}
