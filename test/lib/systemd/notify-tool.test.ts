import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { createNotifier } from '../../../lib/systemd/notify.js'
import { compile } from '../../helper/compile.ts'
import { temporaryFolder } from '../../helper/folder.ts'
import { cleanEnvironment } from '../../helper/server.ts'

/** A notifier whose tool is a script of the test; `calls` are what the tool was called with, one a line. */
function notifier(t: Test, tool: string, env: NodeJS.ProcessEnv = {}) {
  const folder = temporaryFolder(t)
  const file = path.join(folder, 'systemd-notify')
  const record = path.join(folder, 'calls')
  writeFileSync(
    file,
    `#!/bin/sh\nprintf '%s|' "$NOTIFY_SOCKET" "$@" >> ${record}; echo >> ${record}\n${tool}\n`
  )
  chmodSync(file, 0o755)
  const warnings: { err: Error; message: string[]; text: string }[] = []
  const log = { warn: (object: any, text: string) => warnings.push({ ...object, text }) }
  const PATH = `${folder}${path.delimiter}${process.env.PATH}`
  const subject = createNotifier({ PATH, NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '', ...env }, log as any)
  t.teardown(() => subject.close())
  return { folder, subject, warnings, calls, until }

  function calls(): string[] {
    return existsSync(record) ? readFileSync(record, 'utf8').split('\n').slice(0, -1) : []
  }

  async function until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise(resolve => setTimeout(resolve, 5))
  }
}

t.test('the environment is read once, and the tool gets little of it', async t => {
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: '/run/y', SECRET: 'x' }
  const { folder, subject, until } = notifier(t, 'env > "$0.env.tmp"; mv "$0.env.tmp" "$0.env"', env)
  for (const name of Object.keys(env)) delete env[name]
  subject.status('here')
  const file = path.join(folder, 'systemd-notify.env')
  await until(() => existsSync(file))
  const names = readFileSync(file, 'utf8')
    .split('\n')
    .map(line => line.split('=')[0])
  t.ok(names.includes('NOTIFY_SOCKET'))
  t.notOk(names.includes('SECRET'))
})

t.test('a tool that is not there is one warning', async t => {
  const { subject, until, warnings } = notifier(t, '', { PATH: '/nowhere' })
  subject.ready('one')
  subject.reloading()
  subject.ready('two')
  await until(() => warnings.length > 0)
  await new Promise(resolve => setTimeout(resolve, 100))
  t.equal(warnings.length, 1)
  t.match(warnings[0], {
    err: { code: 'ENOENT' },
    message: ['READY=1', 'STATUS=one'],
    text: 'systemd could not be notified'
  })
})

t.test('a tool that fails is one warning, and the next message is sent nevertheless', async t => {
  const { subject, calls, until, warnings } = notifier(t, 'echo "no such thing" >&2; exit 3')
  subject.ready('one')
  subject.reloading()
  subject.ready('two')
  await until(() => calls().length === 3)
  t.equal(warnings.length, 1)
  t.equal(warnings[0]!.err.message, 'systemd-notify ended with 3: no such thing')
})

t.test('a tool that cannot even be spawned is one warning', async t => {
  const { subject, until, warnings } = notifier(t, '', { PATH: 'a\0b' })
  t.doesNotThrow(() => subject.ready('one'))
  t.same(warnings, [], 'not yet: the caller is in the middle of something')
  await until(() => warnings.length === 1)
  t.match(warnings[0], { err: { code: 'ERR_INVALID_ARG_VALUE' } })
})

t.test('a tool that hangs is killed, and the next message is sent', async t => {
  const { timeout } = AbortSignal
  const timers: AbortController[] = []
  t.teardown(() => {
    AbortSignal.timeout = timeout
    for (const timer of timers) timer.abort()
  })
  AbortSignal.timeout = ms => {
    t.equal(ms, 10_000)
    timers.push(new AbortController())
    return timers.at(-1)!.signal
  }
  const { folder, subject, calls, until, warnings } = notifier(t, 'echo $$ > "$0.pid"; exec sleep 60')
  subject.ready('one')
  subject.stopping(1)
  const file = path.join(folder, 'systemd-notify.pid')
  await until(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'))
  const pid = Number(readFileSync(file, 'utf8'))
  timers[0]!.abort()
  await until(() => warnings.length === 1)
  t.match(warnings[0], { err: { name: 'AbortError' }, message: ['READY=1', 'STATUS=one'] })
  await until(() => calls().length === 2)
  await until(() => isGone(pid))
})

t.test('neither a tool that hangs nor the watchdog keeps the process alive', async t => {
  const { folder, until } = notifier(t, 'echo $$ > "$0.pid"; exec sleep 60')
  const file = path.join(folder, 'systemd-notify.pid')
  const script = `
    import { createNotifier } from ${JSON.stringify(compile('systemd/notify', folder))}
    const PATH = ${JSON.stringify(folder)} + ':' + process.env.PATH
    const notifier = createNotifier({ PATH, NOTIFY_SOCKET: 'x', WATCHDOG_USEC: '60000000' }, console)
    notifier.ready('up')
    notifier.stopping(1)
  `
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    env: cleanEnvironment(),
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: 8_000 // less than the tool gets
  })
  t.same(await once(child, 'exit'), [0, null])
  await until(() => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'))
  process.kill(Number(readFileSync(file, 'utf8')), 'SIGKILL')
})

/** A process that nobody waits for stays as a zombie where PID 1 is no init. */
function isGone(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return true
  }
}
