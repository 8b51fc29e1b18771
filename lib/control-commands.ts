import { stripVTControlCharacters } from 'node:util'
import type { ConnectionCounts, ConnectionState } from './connections.js'
import type { Progress, Status } from './control.js'
import { ask, findMaster } from './control-client.js'
import { type DrainReport, isDrainReport, totalFate, ways } from './drain-report.js'
import { GracefulUpgradeError } from './errors.js'

/** Where a command writes to: `process` is one. */
export interface Output {
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }
  readonly stderr: NodeJS.WritableStream
}

/** Longest time a status is waited for, in milliseconds. */
const statusTimeout = 10_000
/** Shortest time between two plain lines about a drain, in milliseconds. */
const plainInterval = 1_000
/** Between two looks at the clock on a terminal, in milliseconds. */
const tick = 100

/**
 * Upgrades a running server, and shows how it goes on.
 * @returns the exit code: 0 once the old generation has retired, 1 if the upgrade failed, 130 after SIGINT, which
 * leaves it running
 */
export function runReload(target: string, output: Output): Promise<number> {
  const view = createProgressView(output.stdout)
  return interruptible('the upgrade', target, output, view, (file, signal) =>
    ask(file, 'reload', view.show, signal)
  )
}

/** Shows what a running server is doing. @returns the exit code: 0, or 1 if it can't be asked */
export async function runStatus(
  target: string,
  { json }: { readonly json: boolean },
  output: Output
): Promise<number> {
  try {
    const signal = AbortSignal.timeout(statusTimeout)
    const status = await ask(await findMaster(target), 'status', undefined, signal)
    output.stdout.write(json ? `${JSON.stringify(status, undefined, 2)}\n` : statusTable(status))
    return 0
  } catch (error) {
    return fail(error, output)
  }
}

/** Ends a running server. @returns the exit code: 0 once its process has ended, 1 if it can't be asked, 130 as above */
export function runStop(target: string, output: Output): Promise<number> {
  const begun = performance.now()
  const view = createProgressView(output.stdout)
  return interruptible('the stop', target, output, view, async (file, signal) => {
    view.note(seconds => `stopping… ${seconds}`)
    await ask(file, 'stop', undefined, signal)
    view.line(`stopped after ${duration(performance.now() - begun)}`)
  })
}

async function interruptible(
  what: string,
  target: string,
  output: Output,
  view: ProgressView,
  run: (file: string, signal: AbortSignal) => Promise<void>
): Promise<number> {
  const interruption = new AbortController()
  const interrupt = () => interruption.abort()
  try {
    const file = await findMaster(target)
    process.once('SIGINT', interrupt)
    await run(file, interruption.signal)
    return 0
  } catch (error) {
    view.clear()
    if (!interruption.signal.aborted) return fail(error, output)
    output.stderr.write(`graceful-upgrade: not waiting any longer; ${what} goes on\n`)
    return 130
  } finally {
    view.clear()
    process.off('SIGINT', interrupt)
  }
}

function fail(error: unknown, { stderr }: Output): number {
  if (!(error instanceof GracefulUpgradeError)) throw error
  stderr.write(`graceful-upgrade: ${printable(error.message)} (${error.code})\n`)
  if (error.lastWords !== undefined) {
    stderr.write(
      `its last words:\n${printable(error.lastWords)
        .replace(/^(?=.)/gm, '  ')
        .trimEnd()}\n`
    )
  }
  return 1
}

/** What comes from the other process may not drive the terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return stripVTControlCharacters(text).replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '')
}

/** Lines about an upgrade: on a terminal the last one is rewritten in place until it is worth keeping. */
export interface ProgressView {
  show(progress: Progress): void
  /** For the moment; `text` is given the time since then. */
  note(text: (seconds: string) => string): void
  /** To stay. */
  line(text: string): void
  /** Takes the last note away. */
  clear(): void
}

/** @param now a clock, in milliseconds */
export function createProgressView(
  stdout: Output['stdout'],
  now: () => number = () => performance.now()
): ProgressView {
  let timer: NodeJS.Timeout | undefined
  let counted: { readonly text: string; readonly at: number } | undefined
  return { show, note, line, clear }

  function show(progress: Progress): void {
    const { stage, generation, pid } = progress
    const name = `generation ${generation} (pid ${pid})`
    switch (stage) {
      case 'booting':
        return note(seconds => `${name} booting… ${seconds}`)
      case 'ready':
        return line(`${name} ready after ${duration(progress.ms)}`)
      case 'draining':
        return drain(`generation ${generation} draining${counts(progress.connections)}`)
      case 'retired':
        return line(
          `${name} retired after ${duration(progress.ms)}${ending(progress)}${fates(progress.report)}`
        )
    }
  }

  function note(text: (seconds: string) => string): void {
    clearInterval(timer)
    if (!stdout.isTTY) return line(text('').trimEnd())
    const begun = now()
    const draw = () => void stdout.write(`\r${fit(text(duration(now() - begun)))}\x1b[K`)
    draw()
    timer = setInterval(draw, tick).unref()
  }

  function drain(text: string): void {
    if (stdout.isTTY) return note(() => text)
    if (text === counted?.text || (counted && now() - counted.at < plainInterval)) return
    counted = { text, at: now() }
    line(text)
  }

  function line(text: string): void {
    clear()
    stdout.write(`${text}\n`)
  }

  function clear(): void {
    if (timer === undefined) return
    clearInterval(timer)
    timer = undefined
    stdout.write('\r\x1b[K')
  }

  /** A line that wraps could not be rewritten. */
  function fit(text: string): string {
    const width = stdout.columns || 80
    return text.length < width ? text : `${text.slice(0, width - 2)}…`
  }
}

const states: readonly ConnectionState[] = ['idle', 'active', 'fresh', 'detached']

function counts(connections: ConnectionCounts | null): string {
  if (connections === null) return ''
  return `: ${listed(states, connections) || 'no connections'}`
}

function ending({ code, signal }: Extract<Progress, { stage: 'retired' }>): string {
  if (signal !== null) return `, by ${signal}`
  return code === 0 ? '' : `, with exit code ${code}`
}

/** What became of the connections, as far as there were any. */
function fates(report: DrainReport | null | undefined): string {
  const some = report ? listed(ways, totalFate(report)) : ''
  return some && `: ${some}`
}

/** `12 idle, 3 active`: those that there are. */
function listed<Name extends string>(names: readonly Name[], counts: Readonly<Record<Name, number>>): string {
  return names
    .filter(name => counts[name] > 0)
    .map(name => `${counts[name]} ${name}`)
    .join(', ')
}

/** @param ms milliseconds @returns `0.4 s`, `2 min 5 s`, `3 h 4 min` or `2 d 3 h` */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 60) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`
  const [minutes, hours, days] = [60, 3_600, 86_400].map(unit => Math.floor(seconds / unit)) as [
    number,
    number,
    number
  ]
  if (hours === 0) return `${minutes} min ${seconds % 60} s`
  return days === 0 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`
}

/** @param now milliseconds since 1970 */
export function statusTable(status: Status, now = Date.now()): string {
  const { pid, mode, state, uptime, directory, version, generations, listeners, upgrades } = status
  const about = { pid, mode, state, uptime: duration(uptime), directory, version }
  const tables = [
    Object.entries(about).map(([name, value]) => [name, value]),
    [
      ['GENERATION', 'PID', 'STATE', 'FOR', ...states.map(name => name.toUpperCase())],
      ...generations.map(({ generation, pid, state, ms, connections }) => [
        ...[generation, pid, state, duration(ms)],
        ...states.map(name => connections?.[name] ?? '?')
      ])
    ],
    [['LISTENER', 'BOUND'], ...listeners.map(({ key, bound }) => [key, bound])],
    [
      ['UPGRADE', 'PID', 'AGE', 'TOOK', ...ways.map(name => name.toUpperCase()), 'RESULT'],
      ...upgrades.map(({ generation, pid, at, ms, result, message, report }) => [
        ...[generation, pid, duration(now - at), duration(ms)],
        ...ways.map(way => (isDrainReport(report) ? totalFate(report)[way] : '-')),
        message ? `${result}: ${message}` : result
      ])
    ]
  ]
  return tables
    .filter(([head, ...rows]) => rows.length > 0 || head?.[0] === 'GENERATION')
    .map(rows => align(rows.map(row => row.map(cell => printable(String(cell)).replace(/\s+/g, ' ')))))
    .join('\n')
}

function align(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? []
  const lines = rows.map(row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
  return lines.map(line => `${line.trimEnd()}\n`).join('')
}
