import { readFileSync } from 'node:fs'
import { posix } from 'node:path'

/** What a file says; undefined where it can't be read. */
export type ReadFile = (file: string) => string | undefined

const mount = '/sys/fs/cgroup'

/**
 * How many cores the cgroups of this process let it use, on the average: the least of its own and of those above it.
 * @returns infinity where nothing limits it, or the system doesn't tell
 */
export function cpuQuota(read: ReadFile = readIfThere): number {
  const own = read('/proc/self/cgroup') ?? ''
  return Math.min(...own.split('\n').flatMap(line => quotasOf(line, read)), Number.POSITIVE_INFINITY)
}

/** @param line `0::/path`, of version 2; or `4:cpu,cpuacct:/path`, of version 1 */
function quotasOf(line: string, read: ReadFile): number[] {
  const [id, controllers = '', ...path] = line.split(':')
  const lineage = fromRootTo(path.join(':'))
  if (id === '0' && controllers === '') return lineage.map(group => quotaOfVersion2(mount + group, read))
  if (!controllers.split(',').includes('cpu')) return []
  const mounts = new Set([`${mount}/cpu`, `${mount}/${controllers}`])
  return [...mounts].flatMap(mount => lineage.map(group => quotaOfVersion1(mount + group, read)))
}

/**
 * `['', '/a', '/a/b']`. In a container the path may be that of the host, of which there is nothing here, or lead out of
 * the mount (`/../b`): what limits the container stands in the root then.
 */
function fromRootTo(path: string): string[] {
  const names = posix.resolve('/', path).split('/').filter(Boolean)
  return ['', ...names.map((_, index) => `/${names.slice(0, index + 1).join('/')}`)]
}

function quotaOfVersion2(group: string, read: ReadFile): number {
  const [quota, period] = (read(`${group}/cpu.max`) ?? '').trim().split(' ')
  return coresOf(quota, period) // 'max' is no number
}

function quotaOfVersion1(group: string, read: ReadFile): number {
  return coresOf(read(`${group}/cpu.cfs_quota_us`), read(`${group}/cpu.cfs_period_us`)) // -1 for none
}

/** @param quota of each period, both in microseconds */
function coresOf(quota: string | undefined, period: string | undefined): number {
  const cores = Number(quota) / Number(period)
  return cores > 0 ? cores : Number.POSITIVE_INFINITY
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
