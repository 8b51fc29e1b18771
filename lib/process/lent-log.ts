import type { Log } from '../log.js'
import { type LogLine, lineOf } from '../protocol/log-line.js'

/** Whoever logs a line instead; false where it can't. */
type Taker = { log?(line: LogLine): Promise<boolean> | undefined } | undefined

/**
 * The log of a process that has served, and is the master alone now. What its own logger writes to may be a file that has been
 * rotated since: so the generation that serves logs each line, by its own. Where none does, or it hangs or dies, the own one does.
 */
export function createLentLog(own: Log, taker: () => Taker): Log {
  return { info: by('info'), warn: by('warn'), error: by('error'), fatal: by('fatal') }

  function by(level: keyof Log): Log['info'] {
    return (...given: unknown[]) => {
      const line = lineOf(level, given)
      const { fields } = line
      const logOwn = () => own[level](...(given as [object, string]))
      const logged = taker()?.log?.({ ...line, fields: { master: process.pid, ...fields } })
      if (logged === undefined) logOwn()
      else void logged.then(isLogged => isLogged || logOwn())
    }
  }
}
