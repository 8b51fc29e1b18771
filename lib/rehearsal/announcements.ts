import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Announcement, announcementsVariable } from './announcement.js'

/** What the processes of an application say by themselves, with this plugin or without. */
export interface Announcements {
  /** What they say is in there. */
  readonly folder: string
  /** Of the application. */
  readonly env: NodeJS.ProcessEnv
  /**
   * Where it listens, if that has been so for some time and it has no use for this plugin.
   * @param master a process that is not the application's
   */
  unregistered(master: number | undefined): readonly string[] | undefined
  close(): void
}

export interface AnnouncementsOptions {
  /** What is loaded into each process: `announce.ts` as it was built. */
  readonly program: string
  /** For so long one that listens may yet register the plugin, in milliseconds: another server of it may have been earlier. */
  readonly patience: number
  now?(): number
}

/** @param env in which the application is started */
export function createAnnouncements(
  env: NodeJS.ProcessEnv,
  { program, patience, now = () => performance.now() }: AnnouncementsOptions
): Announcements {
  const folder = mkdtempSync(path.join(tmpdir(), 'graceful-upgrade-'))
  const file = path.join(folder, 'announcements')
  let listensSince: number | undefined
  return {
    folder,
    env: { ...env, NODE_OPTIONS: optionsOf(env), [announcementsVariable]: file },
    unregistered,
    close
  }

  function unregistered(master: number | undefined): readonly string[] | undefined {
    const said = readAll().filter(({ pid }) => pid !== master)
    if (said.some(each => 'registered' in each)) return undefined
    const places = said.flatMap(each => ('listens' in each ? each.listens : []))
    if (places.length === 0) return undefined
    listensSince ??= now()
    return now() - listensSince < patience ? undefined : places
  }

  function optionsOf({ NODE_OPTIONS: given }: NodeJS.ProcessEnv): string {
    const own = `--require ${JSON.stringify(program)}`
    return given ? `${given} ${own}` : own
  }

  function readAll(): Announcement[] {
    try {
      const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1) // the last one may not be whole
      return lines.map(line => JSON.parse(line))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  function close(): void {
    rmSync(folder, { recursive: true, force: true })
  }
}
