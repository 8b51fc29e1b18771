/**
 * What the supervised master costs: its resident memory next to that of a Node.js that does nothing, and the time
 * from its start to the server's first answer next to `node server.js`; and until several workers are ready. All take turns, each with a new
 * process every time, so that what the machine does besides meets both alike.
 *
 * It takes half a minute. Settings of the environment, with their defaults: ROUNDS=5, each with STARTS=3 pairs of
 * starts.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { host, median, request, setting } from './harness.ts'
import { milliseconds, printTable } from './table.ts'

const rounds = setting('ROUNDS', 5)
const starts = setting('STARTS', 3)
const upgrades = 3
/** Before memory is read, in milliseconds. */
const rest = 1_000
/** Between two attempts to connect, in milliseconds. */
const pollInterval = 1
const longestRun = 300_000

const cli = path.join(import.meta.dirname, '../../dist/cli.cjs')
const server = path.join(import.meta.dirname, 'upgrade-server.js')
const programs = {
  idle: ['-e', 'setInterval(() => {}, 1e9)'],
  plain: [server],
  supervised: [cli, server],
  two: [cli, '--workers', '2', server],
  four: [cli, '--workers', '4', server]
}
type Program = keyof typeof programs

/** In KiB, as the lines of /proc/PID/status. */
interface Memory {
  readonly VmRSS: number
  readonly RssAnon: number
  readonly RssFile: number
}
const memoryNames = ['VmRSS', 'RssAnon', 'RssFile'] as const

interface Run {
  readonly pid: number
  /** From spawn() to the first 200, in milliseconds. */
  answered(): Promise<number>
  /** Resolves with the next line of its log that has this sentence. */
  said(sentence: string): Promise<void>
  end(): Promise<void>
}

if (process.platform !== 'linux') {
  console.log('Memory is read from /proc/PID/status, which only Linux has: nothing was measured.')
  process.exit()
}
const watchdog = setTimeout(giveUp, longestRun).unref()
const port = await freePort()
printIntroduction()

const idle: Memory[] = []
const fresh: Memory[] = []
const upgraded: Memory[] = []
const plainTimes: number[] = []
const supervisedTimes: number[] = []
const readyTimes = { supervised: [] as number[], two: [] as number[], four: [] as number[] }
for (let round = 1; round <= rounds; round++) {
  idle.push(await measureIdle())
  await measureMaster()
  for (let start = 0; start < starts; start++) {
    plainTimes.push(await measureStart('plain'))
    supervisedTimes.push(await measureStart('supervised'))
  }
  for (const program of keysOf(readyTimes)) readyTimes[program].push(await measureReady(program))
  process.stderr.write(`round ${round} of ${rounds}\n`)
}
clearTimeout(watchdog)
showMemory()
showStarts()
showReady()
printLimits()

async function measureIdle(): Promise<Memory> {
  const run = start('idle')
  try {
    await sleep(rest)
    return memory(run.pid)
  } finally {
    await run.end()
  }
}

async function measureMaster(): Promise<void> {
  const run = start('supervised')
  try {
    await run.said('generation ready')
    await sleep(rest)
    fresh.push(memory(run.pid))
    for (let upgrade = 0; upgrade < upgrades; upgrade++) {
      const over = Promise.all([run.said('generation ready'), run.said('generation retired')])
      process.kill(run.pid, 'SIGHUP')
      await over
    }
    await sleep(rest)
    upgraded.push(memory(run.pid))
  } finally {
    await run.end()
  }
}

async function measureStart(program: Program): Promise<number> {
  const run = start(program)
  try {
    return await run.answered()
  } finally {
    await run.end()
  }
}

/** @returns the time until all of its workers serve, in milliseconds */
async function measureReady(program: Program): Promise<number> {
  const begun = performance.now()
  const run = start(program)
  try {
    await run.said('generation ready')
    return performance.now() - begun
  } finally {
    await run.end()
  }
}

function keysOf<Key extends string>(record: Record<Key, unknown>): Key[] {
  return Object.keys(record) as Key[]
}

function start(program: Program): Run {
  const begun = performance.now()
  // Its standard input ends with this process, and the server then ends by itself.
  const child = spawn(process.execPath, programs[program], {
    env: { ...process.env, NODE_OPTIONS: '', PORT: String(port), HANDOVER: 'idle' },
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  const died = exited.then(([code, signal]) => {
    throw new Error(`${program} ended: ${signal ?? code}`)
  })
  died.catch(() => {})
  const lines = createInterface({ input: child.stdout })
  return {
    pid: child.pid as number,
    answered: () => Promise.race([firstAnswer(begun), died]),
    said: sentence => Promise.race([line(sentence), died]),
    async end() {
      child.kill(program === 'idle' ? 'SIGKILL' : 'SIGTERM')
      await exited
    }
  }

  function line(sentence: string): Promise<void> {
    return new Promise(resolve => {
      lines.on('line', function onLine(text) {
        if (!text.includes(`"msg":"${sentence}"`)) return
        lines.off('line', onLine)
        resolve()
      })
    })
  }
}

async function firstAnswer(begun: number): Promise<number> {
  while (!(await isAnswered())) await sleep(pollInterval)
  return performance.now() - begun
}

function isAnswered(): Promise<boolean> {
  return new Promise(resolve => {
    const socket = net.connect({ host, port, noDelay: true })
    socket.on('error', () => resolve(false)) // nobody listens yet
    socket.on('close', () => resolve(false))
    socket.once('data', answer => {
      resolve(String(answer).startsWith('HTTP/1.1 200'))
      socket.resetAndDestroy()
    })
    socket.write(request)
  })
}

function memory(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const read = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1])
  return { VmRSS: read('VmRSS'), RssAnon: read('RssAnon'), RssFile: read('RssFile') }
}

async function freePort(): Promise<number> {
  const probe = net.createServer().listen({ host, port: 0 })
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  return port
}

function giveUp(): void {
  console.error(`given up after ${longestRun / 1_000} s`)
  process.exit(1)
}

function printIntroduction(): void {
  console.log(`The supervised master, in ${rounds} rounds, on Node.js ${process.version}.
Memory is read ${rest / 1_000} s after the last thing that has happened. A start lasts from spawn() to the first 200.
`)
}

function showMemory(): void {
  const base = medians(idle)
  const row = (name: string, samples: readonly Memory[]) => {
    const values = medians(samples)
    const cells = memoryNames.map(name => values[name].toFixed(0))
    return [name, ...cells, (values.VmRSS / base.VmRSS).toFixed(3), range(samples.map(({ VmRSS }) => VmRSS))]
  }
  console.log('1. Resident memory, medians in KiB; the ratio is that of VmRSS, its limit 1.100')
  printTable(
    ['', ...memoryNames, 'ratio', 'VmRSS from-to'],
    [
      row("node -e 'setInterval(() => {}, 1e9)'", idle),
      row('master, its worker ready', fresh),
      row(`master, after ${upgrades} upgrades`, upgraded)
    ]
  )
}

function medians(samples: readonly Memory[]): Memory {
  const of = (name: keyof Memory) => median(samples.map(sample => sample[name]))
  return { VmRSS: of('VmRSS'), RssAnon: of('RssAnon'), RssFile: of('RssFile') }
}

function showStarts(): void {
  const base = median(plainTimes)
  const row = (name: string, times: readonly number[]) => {
    const value = median(times)
    return [name, milliseconds(value), milliseconds(value - base), (value / base).toFixed(2), range(times)]
  }
  console.log(
    `2. From the start to the first 200, medians of ${plainTimes.length} in ms; the limit is 100 more`
  )
  printTable(
    ['', 'ms', 'more', 'ratio', 'from-to'],
    [row('node server.js', plainTimes), row('graceful-upgrade server.js', supervisedTimes)]
  )
}

function showReady(): void {
  const base = median(readyTimes.supervised)
  const row = (name: string, times: readonly number[]) => {
    const value = median(times)
    return [name, milliseconds(value), (value / base).toFixed(2), range(times)]
  }
  console.log(
    `3. Until all workers serve, medians of ${rounds} in ms, on ${availableParallelism()} cores, where half as many start at a time`
  )
  printTable(
    ['', 'ms', 'ratio', 'from-to'],
    [
      row('one', readyTimes.supervised),
      row('--workers 2', readyTimes.two),
      row('--workers 4', readyTimes.four)
    ]
  )
}

function range(values: readonly number[]): string {
  return `${Math.min(...values).toFixed(0)}-${Math.max(...values).toFixed(0)}`
}

function printLimits(): void {
  console.log(`What this can't show: memory that is the machine's and not the master's: RssFile is pages of the node
binary, which the worker maps too, so most of it is there once for both; another version of Node.js, whose own
share differs; a master that has run for months, or with --pid-file and systemd, which load some more; a cold
start, as the files are in the cache from the second one on; an application that takes longer to start, where
the same milliseconds are a smaller ratio. A time is good for about ${pollInterval + 1} ms, as the client asks once a millisecond
and takes its share of the same few cores.`)
}
