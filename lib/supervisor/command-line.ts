import { isWorkerCount } from '../control/messages.js'
import { GracefulUpgradeError } from '../errors.js'
import { splitAtEquals } from '../master/node-flags.js'
import { supervisorOptions, variableOf } from '../options/supervised.js'
import { textOptions } from '../options.js'

/** What `graceful-upgrade` was asked for. */
export type CommandLine =
  | { readonly command: 'help' | 'version' }
  | { readonly command: 'metrics' | 'confirm' | 'rollback' | 'stop'; readonly target: string }
  | {
      readonly command: 'reload'
      readonly target: string
      readonly failOnCut: boolean
      readonly noWait: boolean
    }
  | { readonly command: 'status'; readonly target: string; readonly json: boolean; readonly watch: boolean }
  | { readonly command: 'scale'; readonly target: string; readonly workers: string }
  | {
      readonly command: 'rehearse'
      readonly run: Run
      /** Its own, in their order; one that takes no value has an empty one. */
      readonly options: readonly (readonly [name: string, value: string])[]
    }
  | Run

export interface Run {
  readonly command: 'run'
  /** Words that start the application: `node`'s own options, the script and its arguments; or a command. */
  readonly words: readonly string[]
  /** Which of them is the script, or the command. */
  readonly main: number
  /** Whether the words are those of a command, and not for `node`. */
  readonly isCommand: boolean
  readonly pidFile?: string
  readonly directory?: string
  /** Variables of the environment that stand for options. */
  readonly environment: Readonly<Record<string, string>>
}

/** Options of `rehearse`, and whether they take a value. */
export const rehearsalOptions: ReadonlyMap<string, boolean> = new Map([
  ...[
    '--clients',
    '--pause',
    '--for',
    '--every',
    '--request',
    '--fresh',
    '--websocket',
    '--events',
    '--latency',
    '--timeout',
    '--expect',
    '--compare',
    '--max-failures',
    '--max-p999',
    '--html'
  ].map(name => [name, true] as const),
  ['--json', false]
])

/** Options that have a variable, too: `--drain-timeout` sets `drainTimeout` of the plugin, `--max-memory` is our own. */
const namedOptions = new Map(
  [...textOptions, ...Object.keys(supervisorOptions)].map(name => [`--${dashed(name)}`, name])
)

const ownOptions = new Set([...namedOptions.keys(), '--pid-file', '--directory'])

/** @throws GRACEFUL_UPGRADE_USAGE */
export function parseCommandLine(words: readonly string[]): CommandLine {
  const [first, ...rest] = words
  switch (first) {
    case undefined:
      throw usage('nothing to run')
    case 'reload':
    case 'status':
    case 'metrics':
    case 'confirm':
    case 'rollback':
    case 'scale':
    case 'stop':
      return rest.some(word => isHelp(word)) ? { command: 'help' } : parseCommand(first, rest)
    case 'rehearse': {
      const options: [string, string][] = []
      const run = parseRun(rest, options)
      return run.command === 'run' ? { command: 'rehearse', run, options } : run
    }
    default:
      return parseRun(words)
  }
}

/** What may stand before, between or behind the words of a command. */
const flags = {
  reload: ['--fail-on-cut', '--no-wait'],
  status: ['--json', '--watch'],
  metrics: [],
  confirm: [],
  rollback: [],
  scale: [],
  stop: []
} as const

function parseCommand(command: keyof typeof flags, words: readonly string[]): CommandLine {
  const known: readonly string[] = flags[command]
  const others = words.filter(word => !known.includes(word))
  if (command === 'scale') return parseScale(others)
  const target = onlyWord(command, others)
  switch (command) {
    case 'reload':
      return {
        command,
        target,
        failOnCut: words.includes('--fail-on-cut'),
        noWait: words.includes('--no-wait')
      }
    case 'status':
      return { command, target, json: words.includes('--json'), watch: words.includes('--watch') }
    case 'metrics':
    case 'confirm':
    case 'rollback':
    case 'stop':
      return { command, target }
  }
}

function parseScale(words: readonly string[]): CommandLine {
  const [target, workers, ...others] = words
  if (target === undefined || workers === undefined || others.length > 0)
    throw usage('scale needs a pid, a pid file, a directory or a control socket, and a number of workers')
  if (target.startsWith('-') || !isWorkerCount(workers))
    throw usage(`scale takes a server, and then 6, +1 or -1, not ${words.join(' ')}`)
  return { command: 'scale', target, workers }
}

/** @param rehearsal takes the options of `rehearse`, where that is what is asked for */
function parseRun(
  words: readonly string[],
  rehearsal?: [string, string][]
): Run | { readonly command: 'help' | 'version' } {
  const environment: Record<string, string> = {}
  const own: { pidFile?: string; directory?: string } = {}
  const nodeOptions: string[] = []
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as string
    if (word === '--') {
      if (nodeOptions.length > 0) throw usage(`${nodeOptions[0]} is for node, but behind -- comes a command`)
      if (index === words.length - 1) throw usage('nothing to run behind --')
      return { command: 'run', words: words.slice(index + 1), main: 0, isCommand: true, ...own, environment }
    }
    if (!word.startsWith('-')) {
      const all = [...nodeOptions, ...words.slice(index)]
      return { command: 'run', words: all, main: nodeOptions.length, isCommand: false, ...own, environment }
    }
    if (isHelp(word)) return { command: 'help' }
    if (word === '-v' || word === '--version') return { command: 'version' }
    const [name = word, given] = splitAtEquals(word)
    if (rehearsal !== undefined && rehearsalOptions.has(name)) {
      const takesValue = rehearsalOptions.get(name)
      if (!takesValue && given !== undefined) throw usage(`${name} takes no value`)
      const value = takesValue ? (given ?? words[++index]) : ''
      if (takesValue && !value) throw usage(`${name} needs a value`)
      rehearsal.push([name, value ?? ''])
    } else if (ownOptions.has(name)) {
      const value = given ?? words[++index]
      if (value === undefined || value === '') throw usage(`${name} needs a value`)
      const option = namedOptions.get(name)
      if (option !== undefined) environment[variableOf(option)] = addedTo(option, value, environment)
      else if (name === '--pid-file') own.pidFile = value
      else own.directory = value
    } else if (word.startsWith('--')) {
      nodeOptions.push(word) // whether node takes it, node itself is asked
    } else {
      throw usage(
        `unknown option ${word}; options of node have two dashes: --require=./a.cjs instead of -r ./a.cjs`
      )
    }
  }
  throw usage('nothing to run behind the options')
}

/** There may be several checks; of all else the last one counts. */
function addedTo(option: string, value: string, environment: Readonly<Record<string, string>>): string {
  const before = option === 'check' ? environment[variableOf(option)] : undefined
  return before === undefined ? value : `${before},${value}`
}

function isHelp(word: string): boolean {
  return word === '-h' || word === '--help'
}

function onlyWord(command: string, words: readonly string[]): string {
  const [target, ...others] = words
  if (target === undefined) throw usage(`${command} needs a pid, a pid file, a directory or a control socket`)
  if (others.length > 0 || target.startsWith('-'))
    throw usage(`${command} takes one argument, not ${words.join(' ')}`)
  return target
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}

function usage(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', `${detail}; see graceful-upgrade --help`)
}
