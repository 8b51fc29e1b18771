import type { Host } from '../signals/host.js'
import type { ProcessContext, Role } from './role.js'

/** A worker whose master is lost, as another worker is the master now: it serves on until it is told to end, or that one is gone. */
export interface Orphan {
  /** The process that is the master now. */
  readonly heir: number
  /** Looks who it is. @returns what this process is now, if that is none other */
  look(): Role | undefined
}

export interface OrphanOptions extends Pick<ProcessContext, 'generation' | 'team' | 'application'> {
  /** This process is the master from now on. */
  succeed(): Role
}

/** Pause between two looks at the heir, in milliseconds: it may die with the master, and only a moment later. */
const interval = 1_000

/** @param heir the master now, which is another process */
export function createOrphan(heir: number, options: OrphanOptions, host: Pick<Host, 'every'>): Orphan {
  const { generation, team, application, succeed } = options
  let role: Role | undefined
  const stop = host.every(interval, look)
  tell()
  return {
    get heir() {
      return heir
    },
    look
  }

  function look(): Role | undefined {
    if (role !== undefined || application.ending) return role
    if (!team.isSeen()) return undefined // the heir may have been upgraded, and another generation be the master now
    const next = team.heir()
    if (next === undefined) {
      stop()
      role = succeed()
    } else if (next !== heir) {
      heir = next
      tell()
    }
    return role
  }

  function tell(): void {
    if (application.instances.size === 0) return
    application.log.error(
      { generation, worker: team.worker, master: heir },
      'master lost: another worker is the master now; this one serves until that is upgraded, or SIGTERM'
    )
  }
}
