/** What example/recipes has for other programs is what they take, and fits the options of this package. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { defaultOptions } from '../../lib/options.ts'
import { temporaryFolder } from '../helper/folder.ts'

const folder = path.resolve(import.meta.dirname, '../../example/recipes')
const read = (name: string) => readFileSync(path.join(folder, name), 'utf8')

/** Where CI is set, what a test asks for is there. */
const isMissing = (program: string) =>
  !process.env.CI && spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0 && `there is no ${program}`

t.test('HAProxy takes its file', { skip: isMissing('haproxy') }, async t => {
  const { status, stdout, stderr } = spawnSync('haproxy', ['-c', '-f', path.join(folder, 'haproxy.cfg')])
  t.equal(status, 0, `${stdout}${stderr}`)
})

t.test('nginx takes its file', { skip: isMissing('nginx') }, async t => {
  const directory = temporaryFolder(t)
  const config = path.join(directory, 'nginx.conf')
  const http = `access_log off; ${read('nginx.conf').replace(/listen \d+/, `listen unix:${directory}/socket`)}`
  writeFileSync(config, `pid ${directory}/pid; error_log ${directory}/log; events {}\nhttp {\n${http}\n}\n`)
  const { status, stderr } = spawnSync('nginx', ['-t', '-c', config])
  t.equal(status, 0, String(stderr))
})

t.test('whoever ends a server waits longer than that may take', async t => {
  const longest = (defaultOptions.drainTimeout + defaultOptions.closeTimeout) / 1_000
  const [, delay = ''] = /CLOSE_DELAY, value: '(\d+)'/.exec(read('kubernetes.yaml')) ?? []
  const [, pod] = /terminationGracePeriodSeconds: (\d+)/.exec(read('kubernetes.yaml')) ?? []
  t.ok(Number(pod) > Number(delay) / 1_000 + longest, `${pod} s in Kubernetes`)
  const [, compose] = /stop_grace_period: (\d+)s/.exec(read('compose.yaml')) ?? []
  t.ok(Number(compose) > longest, `${compose} s in Docker`)
})

t.test('the programs are JavaScript', async t => {
  for (const name of readdirSync(folder).filter(name => name.endsWith('.mjs')))
    t.doesNotThrow(() => execFileSync(process.execPath, ['--check', path.join(folder, name)]), name)
})
