import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { cpuQuota } from '../../../lib/supervisor/cpu-quota.js'

const mount = '/sys/fs/cgroup'

/** What a system with just these files allows. */
function quotaIn(own: string | undefined, files: Readonly<Record<string, string>> = {}): number {
  const all: Readonly<Record<string, string>> =
    own === undefined ? files : { ...files, '/proc/self/cgroup': own }
  return cpuQuota(file => all[file])
}

t.test('where the system does not tell, nothing limits', async t => {
  t.equal(quotaIn(undefined), Number.POSITIVE_INFINITY)
  t.equal(quotaIn('0::/\n'), Number.POSITIVE_INFINITY)
  t.equal(quotaIn('nonsense\n::\n\n', { [`${mount}/cpu.max`]: '1 1' }), Number.POSITIVE_INFINITY)
})

t.test('version 2: the least of the own cgroup and of all above it', async t => {
  const own = '0::/app.slice/web:1.service\n'
  const files = (...quotas: string[]) => ({
    [`${mount}/cpu.max`]: quotas[0]!,
    [`${mount}/app.slice/cpu.max`]: quotas[1]!,
    [`${mount}/app.slice/web:1.service/cpu.max`]: quotas[2]!
  })
  const [max, two, half] = ['max 100000\n', '200000 100000\n', '25000 50000\n']
  t.equal(quotaIn(own, files(max, max, max)), Number.POSITIVE_INFINITY)
  t.equal(quotaIn(own, files(max, max, two)), 2)
  t.equal(quotaIn(own, files(max, half, two)), 0.5)
  t.equal(quotaIn(own, files(half, max, max)), 0.5)
  t.equal(quotaIn(own, { ...files(max, two, half), [`${mount}/app.slice/other/cpu.max`]: '1 1000' }), 0.5)
})

t.test('version 2: a container sees its own cgroup at the root, whatever path it is told', async t => {
  const files = { [`${mount}/cpu.max`]: '150000 100000\n', '/sys/fs/other/cpu.max': '1 1' }
  for (const path of ['/', '/docker/4f1c', '/../../fs/other'])
    t.equal(quotaIn(`0::${path}\n`, files), 1.5, path)
})

t.test('version 1: quota and period of the controller, wherever it is mounted', async t => {
  const own = '9:name=systemd:/\n4:cpu,cpuacct:/docker/4f1c\n2:cpuset:/\n0::/\n'
  const group = (folder: string, quota: string) => ({
    [`${folder}/cpu.cfs_quota_us`]: quota,
    [`${folder}/cpu.cfs_period_us`]: '100000\n'
  })
  const none = group(`${mount}/cpu`, '-1\n')
  t.equal(quotaIn(own, none), Number.POSITIVE_INFINITY)
  t.equal(quotaIn(own, { ...none, ...group(`${mount}/cpu/docker/4f1c`, '300000\n') }), 3)
  t.equal(quotaIn(own, { ...none, ...group(`${mount}/cpu/docker`, '50000\n') }), 0.5)
  t.equal(quotaIn(own, group(`${mount}/cpu,cpuacct`, '200000\n')), 2)
  t.equal(quotaIn('2:cpuset:/\n', group(`${mount}/cpu`, '200000\n')), Number.POSITIVE_INFINITY)
})

/** A cgroup of this machine, as a folder, that a quota of a core and a half can be given. */
const parent = (function findParent(): string | undefined {
  const own = existsSync('/proc/self/cgroup') ? readFileSync('/proc/self/cgroup', 'utf8') : ''
  const [, path] = /^\d+:(?:\w+,)*cpu(?:,\w+)*:(.*)$/m.exec(own) ?? []
  if (path !== undefined) return `${mount}/cpu${path}`
  const controllers = `${mount}/cgroup.subtree_control`
  return existsSync(controllers) && /\bcpu\b/.test(readFileSync(controllers, 'utf8')) ? mount : undefined
})()

const folder = `${parent}/fgu-test-${process.pid}`

const whyNot = (function make(): string | false {
  if (parent === undefined) return 'there is no cgroup controller for cpu here'
  try {
    mkdirSync(folder)
    return false
  } catch (error) {
    return `no cgroup can be made here: ${(error as Error).message}`
  }
})()

t.test('a real cgroup, and one in it', { skip: whyNot }, async t => {
  t.teardown(() => rmdirSync(folder))
  if (existsSync(path.join(folder, 'cpu.max'))) writeFileSync(path.join(folder, 'cpu.max'), '150000 100000')
  else {
    writeFileSync(path.join(folder, 'cpu.cfs_period_us'), '100000')
    writeFileSync(path.join(folder, 'cpu.cfs_quota_us'), '150000')
  }
  const inner = path.join(folder, 'inner')
  mkdirSync(inner)
  t.teardown(() => rmdirSync(inner))
  const file = path.resolve(import.meta.dirname, '../../../lib/supervisor/cpu-quota.ts')
  const script = `import(${JSON.stringify(file)}).then(({ cpuQuota }) => console.log(cpuQuota()))`
  for (const cgroup of [folder, inner]) {
    const command = `echo $$ > ${cgroup}/cgroup.procs && exec "$0" --import=tsx -e '${script}'`
    const { stdout, stderr } = spawnSync('sh', ['-c', command, process.execPath], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' }
    })
    t.same({ stdout, stderr }, { stdout: '1.5\n', stderr: '' }, cgroup)
  }
})
