/** What becomes of a server when the terminal is closed that a shell has started it in. */
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { cli, fixtures, type LogLine } from '../helper/server.ts'
import { ends } from '../helper/supervised.ts'
import { noTerminal, startInTerminal } from '../helper/terminal.ts'

const standalone = `${process.execPath} ${path.join(fixtures, 'server.js')}`
const supervised = `${process.execPath} ${cli} ${path.join(fixtures, 'server.js')}`

/** A shell in a terminal, whose jobs are servers. */
async function startShell(t: Test) {
  const shell = await startInTerminal(t, ['env', 'PS1=', 'bash', '--norc', '--noediting', '-i'])
  return { ...shell, start, heard }

  /** @returns the process that serves, or its master */
  async function start(command: string, end = '&'): Promise<number> {
    const known = new Set(shell.said().map(({ pid }) => pid))
    shell.type(`${command} ${end}`)
    const ready = command.endsWith(supervised) ? 'generation ready' : 'listening on'
    const { pid } = await shell.line(ready, ({ pid }) => !known.has(pid))
    return pid
  }

  function heard(pid: number, msg: string, generation?: number): Promise<LogLine> {
    const isNamed = (line: LogLine) => generation === undefined || line.generation === generation
    return shell.line(msg, line => line.pid === pid && isNamed(line))
  }
}

t.test('a terminal that is closed: who was started by nohup serves on', { skip: noTerminal }, async t => {
  const shell = await startShell(t)
  const jobs = {
    'by nohup': `nohup ${standalone}`,
    'by nohup, which the shell does not tell': `env -u _ nohup env -u _ ${standalone}`,
    'by nohup, without standard input': `nohup < /dev/null ${standalone}`,
    'by nohup, supervised': `nohup ${supervised}`
  }
  const pids = new Map<string, number>()
  for (const [how, command] of Object.entries(jobs)) pids.set(how, await shell.start(command))
  pids.set('in the foreground', await shell.start(`nohup ${standalone}`, ''))
  await shell.end('close')
  for (const pid of pids.values()) await shell.heard(pid, 'terminal closed, serving on')
  await sleep(1_000) // for half a second it is the same SIGHUP, which the system and the shell may send both
  t.notOk(shell.said().some(({ msg, generation }) => msg === 'generation spawned' && generation > 1))
  for (const [how, pid] of pids) {
    process.kill(pid, 'SIGHUP')
    t.ok(await shell.heard(pid, 'generation ready', 2), `${how}; and a SIGHUP later upgrades it`)
  }
  const closing = shell.said().filter(({ msg }) => msg === 'closing')
  t.same(closing, [])
})

t.test(
  'a terminal that is closed: others end, wherever their input comes from',
  { skip: noTerminal },
  async t => {
    const shell = await startShell(t)
    const jobs = [standalone, `< /dev/null ${standalone}`, `< /dev/null ${supervised}`]
    const pids: number[] = []
    for (const job of jobs) pids.push(await shell.start(job))
    await shell.end('close')
    for (const pid of pids) await ends(pid)
    const messages = shell.said().map(({ msg }) => msg)
    t.equal(messages.filter(msg => msg === 'onClose hook').length, jobs.length)
    t.equal(
      messages.filter(msg => msg === 'generation spawned').length,
      1,
      'which is the supervised one of the start'
    )
  }
)

t.test('a shell that sends SIGHUP to its jobs when it is left ends them', { skip: noTerminal }, async t => {
  const shell = await startShell(t)
  shell.type(`exec bash --norc --noediting -O huponexit -li`)
  const pid = await shell.start(standalone)
  shell.type('exit')
  shell.type('exit') // there are running jobs
  await ends(pid)
  t.notOk(shell.said().some(({ msg }) => msg === 'generation spawned'))
})

t.test('who was left behind by a terminal long ago is upgraded by SIGHUP', { skip: noTerminal }, async t => {
  const shell = await startShell(t)
  const job = await shell.start(standalone)
  const own = await shell.start(`setsid ${standalone}`) // a session of its own, its input a terminal that isn't its own
  shell.type(`disown -a; echo '{"msg":"disowned"}'`)
  await shell.line('disowned')
  await shell.end('close')
  await shell.heard(job, 'terminal closed, serving on')
  t.ok(await shell.heard(job, 'launcher has ended, signals go to the master'))
  for (const pid of [job, own]) {
    process.kill(pid, 'SIGHUP')
    t.ok(await shell.heard(pid, 'generation ready', 2))
  }
})

t.test(
  'what a terminal sends to a job that reads in the background starts no worker',
  { skip: noTerminal },
  async t => {
    const shell = await startShell(t)
    const pid = await shell.start(supervised)
    process.kill(pid, 'SIGTTIN')
    await shell.heard(pid, 'ignored, as a terminal may have sent it: use graceful-upgrade scale')
    t.notOk(shell.said().some(({ msg }) => msg === 'scaled'))
  }
)
