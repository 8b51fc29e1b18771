/**
 * What the plugin costs while nothing is upgraded: Fastify with it and without it, as ratios. Three servers take
 * turns, each a new process in every round, so that what the machine does besides meets all of them alike.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { close, closingBrace, host, median, open, request, requireDescriptors, setting } from './harness.ts'

const pairs = setting('PAIRS', 9)
const seconds = setting('SECONDS', 2)
const idleConnections = setting('CONNECTIONS', 5_000)
const loadConnections = 32
const warmUpSeconds = 0.75
const turns = 10

const programs = { A: { PLUGIN: '0' }, B: { PLUGIN: '1' }, "A'": { PLUGIN: '0' } }
const metrics = { rate: 'requests/s', rss: 'RSS/connection', heap: 'heap/connection' }
type Program = keyof typeof programs
type Metric = keyof typeof metrics
type Sample = Record<Metric, number>
type Round = Record<Program, Sample>

const programNames = Object.keys(programs) as Program[]
const metricNames = Object.keys(metrics) as Metric[]

interface Server {
  readonly port: Promise<number>
  /** Rejects when the server exits. */
  readonly died: Promise<never>
  kill(): Promise<void>
}

interface Memory {
  readonly rss: number
  readonly heapUsed: number
  readonly connections: number
}

requireDescriptors(idleConnections + programNames.length * loadConnections + 50)
printIntroduction()
const rounds: Round[] = []
while (rounds.length < pairs) {
  const round = await playRound()
  rounds.push(round)
  printRatios(String(rounds.length), metric => [ratio(round, metric, 'B'), ratio(round, metric, "A'")])
}
printSummary()

async function playRound(): Promise<Round> {
  const servers = programNames.map(start)
  try {
    return await Promise.race([measure(servers), ...servers.map(({ died }) => died)])
  } finally {
    await Promise.all(servers.map(server => server.kill()))
  }
}

/** Memory comes after the load: a server that is cold grows by what is no connection's. */
async function measure(servers: readonly Server[]): Promise<Round> {
  const ports = await Promise.all(servers.map(({ port }) => port))
  const rates = await measureRates(ports)
  const round: Partial<Round> = {}
  for (const [index, program] of programNames.entries()) {
    round[program] = { rate: rates[index]!, ...(await measureMemory(ports[index]!)) }
  }
  return round as Round
}

async function measureRates(ports: readonly number[]): Promise<number[]> {
  const loads: { readonly sockets: Socket[]; answers: number; time: number }[] = []
  for (const port of ports) {
    const sockets = await open(port, loadConnections)
    await ask(sockets, warmUpSeconds)
    loads.push({ sockets, answers: 0, time: 0 })
  }
  for (let turn = 0; turn < turns; turn++) {
    for (const load of loads) {
      const start = performance.now()
      load.answers += await ask(load.sockets, seconds / turns)
      load.time += performance.now() - start
    }
  }
  for (const { sockets } of loads) close(sockets)
  return loads.map(({ answers, time }) => (answers / time) * 1_000)
}

/**
 * Each connection asks again as soon as it is answered. A client as small as this one leaves the server to be
 * what limits the rate.
 * @returns the number of answers
 */
async function ask(sockets: readonly Socket[], duration: number): Promise<number> {
  const end = performance.now() + duration * 1_000
  let answers = 0
  await Promise.all(sockets.map(askAgainAndAgain))
  return answers

  function askAgainAndAgain(socket: Socket): Promise<void> {
    return new Promise(resolve => {
      socket.on('data', onData)
      socket.write(request)
      function onData(chunk: Buffer): void {
        if (chunk.at(-1) !== closingBrace) return
        answers++
        if (performance.now() < end) return void socket.write(request)
        socket.off('data', onData)
        resolve()
      }
    })
  }
}

async function measureMemory(port: number): Promise<Pick<Sample, 'rss' | 'heap'>> {
  const before = await memory(port)
  const sockets = await open(port, idleConnections)
  const after = await memory(port)
  close(sockets)
  const opened = after.connections - before.connections
  if (opened !== idleConnections) {
    throw new Error(`the server has ${opened} of ${idleConnections} idle connections`)
  }
  return { rss: (after.rss - before.rss) / opened, heap: (after.heapUsed - before.heapUsed) / opened }
}

async function memory(port: number): Promise<Memory> {
  const response = await fetch(`http://${host}:${port}/memory`)
  return (await response.json()) as Memory
}

function start(program: Program): Server {
  const child = spawn(
    process.execPath,
    ['--expose-gc', path.join(import.meta.dirname, 'overhead-server.js')],
    { env: { ...process.env, ...programs[program] }, stdio: ['pipe', 'pipe', 'inherit'] }
  )
  const exited = once(child, 'exit')
  return {
    port: once(createInterface({ input: child.stdout }), 'line').then(Number),
    died: exited.then(([code, signal]) => {
      throw new Error(`the server of ${program} exited: ${signal ?? code}`)
    }),
    async kill() {
      child.kill('SIGKILL')
      await exited
    }
  }
}

function ratio(round: Round, metric: Metric, program: 'B' | "A'"): number {
  return round[program][metric] / round.A[metric]
}

function printIntroduction(): void {
  console.log(`Fastify without the plugin (A), with it (B), and without it once more (A'), in ${pairs} rounds.
requests/s: ${loadConnections} keep-alive connections, each asks again when answered, for ${seconds} s in ${turns} turns.
RSS, heap: what the server grows by per connection, with ${idleConnections} idle ones of one request each.
B/A is the plugin. A'/A is the yardstick: what two runs of one program differ by.
`)
  printRow(
    '',
    metricNames.flatMap(metric => [metrics[metric], ''])
  )
  printRow(
    'round',
    metricNames.flatMap(() => ['B/A', "A'/A"])
  )
}

function printSummary(): void {
  const summaries = {
    median,
    min: (ratios: number[]) => Math.min(...ratios),
    max: (ratios: number[]) => Math.max(...ratios)
  }
  console.log()
  for (const [name, summarize] of Object.entries(summaries)) {
    const over = (metric: Metric, program: 'B' | "A'") =>
      summarize(rounds.map(round => ratio(round, metric, program)))
    printRatios(name, metric => [over(metric, 'B'), over(metric, "A'")])
  }
  console.log('\nmedians:')
  for (const program of programNames) {
    const { rate, rss, heap } = Object.fromEntries(
      metricNames.map(metric => [metric, Math.round(median(rounds.map(round => round[program][metric])))])
    )
    console.log(
      `${program.padEnd(2)}  ${rate} requests/s, ${rss} B of RSS and ${heap} B of heap per connection`
    )
  }
  console.log(`
Where B/A lies within the range of A'/A, it is not told apart from no difference at all. The numbers below the
ratios are of this machine and this minute.

What this can't show: a difference below that range; a server that has a machine to itself, as the client takes
its share of the same few noisy cores; a real network, as this is loopback; tail latency, TLS, HTTP/2; an
application that does some work, where the plugin's share is smaller; and what an upgrade costs: two
generations at once, and the master process that stays from the first upgrade on.`)
}

function printRatios(name: string, ratios: (metric: Metric) => readonly number[]): void {
  printRow(
    name,
    metricNames.flatMap(metric => ratios(metric).map(value => value.toFixed(3)))
  )
}

function printRow(name: string, cells: readonly string[]): void {
  const padded = cells.map((cell, index) => cell.padEnd(index % 2 === 0 ? 8 : 12))
  console.log((name.padEnd(8) + padded.join('')).trimEnd())
}
