import { GracefulUpgradeError } from './errors.js'
import { isNodeFlag, splitAtEquals, takesNextWord } from './node-flags.js'
import { defaultOptions, variableOf } from './options.js'

/** What `graceful-upgrade` was asked for. */
export type CommandLine =
  | { readonly command: 'help' | 'version' }
  | { readonly command: 'reload' | 'stop'; readonly target: string }
  | { readonly command: 'status'; readonly target: string; readonly json: boolean }
  | {
      readonly command: 'run'
      /** Words that start the application: `node`'s own options, the script and its arguments; or a command. */
      readonly words: readonly string[]
      /** Which of them is the script, or the command. */
      readonly main: number
      /** Whether the words are those of a command, and not for `node`. */
      readonly isCommand: boolean
      readonly pidFile?: string
      readonly directory?: string
      /** Variables of the environment that stand for the plugin's options. */
      readonly environment: Readonly<Record<string, string>>
    }

/** Options with the names of the plugin's: `--drain-timeout` sets `drainTimeout`. */
const pluginOptions = new Map(Object.keys(defaultOptions).map(name => [`--${dashed(name)}`, name]))
const ownOptions = new Set([...pluginOptions.keys(), '--pid-file', '--directory'])

/** @throws GRACEFUL_UPGRADE_USAGE */
export function parseCommandLine(words: readonly string[]): CommandLine {
  const [first] = words
  switch (first) {
    case undefined:
      throw usage('nothing to run')
    case '-h':
    case '--help':
      return { command: 'help' }
    case '-v':
    case '--version':
      return { command: 'version' }
    case 'reload':
    case 'stop':
      return { command: first, target: onlyWord(first, words.slice(1)) }
    case 'status': {
      const rest = words.slice(1).filter(word => word !== '--json')
      return { command: first, target: onlyWord(first, rest), json: rest.length < words.length - 1 }
    }
    default:
      return parseRun(words)
  }
}

function parseRun(words: readonly string[]): CommandLine {
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
    const [name = word, given] = splitAtEquals(word)
    if (ownOptions.has(name)) {
      const value = given ?? words[++index]
      if (value === undefined || value === '') throw usage(`${name} needs a value`)
      const option = pluginOptions.get(name)
      if (option !== undefined) environment[variableOf(option)] = value
      else if (name === '--pid-file') own.pidFile = value
      else own.directory = value
    } else if (isNodeFlag(name)) {
      nodeOptions.push(word)
      if (given === undefined && takesNextWord(name)) nodeOptions.push(words[++index] ?? '')
    } else {
      throw usage(`unknown option ${name}; behind -- comes any command, also node with options of its own`)
    }
  }
  throw usage('nothing to run behind the options')
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
