import { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import pino from 'pino'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { createLentLog } from '../../../lib/process/lent-log.js'
import { isLogLine, type LogLine, writeLine } from '../../../lib/protocol/log-line.js'

/** A logger, and what it has written. */
function logger() {
  const lines: any[] = []
  const write = (chunk: Buffer, _encoding: string, done: () => void) => {
    lines.push(JSON.parse(chunk.toString()))
    done()
  }
  return { log: pino({ base: null, timestamp: false }, new Writable({ write })), lines }
}

t.test(
  'a line is logged by the one that serves, in each of its words, and else by the own logger',
  async t => {
    const [own, its] = [logger(), logger()]
    let serving: { log?(line: LogLine): Promise<boolean> | undefined } | undefined
    const log = createLentLog(own.log, () => serving)
    const say = () => {
      const cause = new TypeError('no such file')
      const err = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'it threw', { cause, lastWords: 'oh' })
      log.error({ err, generation: 2 }, 'upgrade failed')
      log.warn({ signal: 'SIGHUP' }, 'taken off')
      log.info({ generation: 2 }, 'generation spawned')
      log.error('second error, exiting')
      log.fatal(new Error('it broke'))
    }
    const ofNobody = undefined
    const here = {}
    const ofOlderVersion = { log: () => undefined }
    const hanging = { log: async () => false }
    for (const one of [ofNobody, here, ofOlderVersion, hanging]) {
      serving = one
      own.lines.length = 0
      say()
      await turn()
      t.equal(own.lines.length, 5)
    }

    serving = {
      async log(line) {
        const received = JSON.parse(JSON.stringify(line)) // as by a channel
        t.ok(isLogLine(received))
        writeLine(its.log, received)
        return true
      }
    }
    say()
    await turn()
    t.equal(own.lines.length, 5)
    const named = own.lines.map(line => ({ ...line, master: process.pid }))
    const withoutTraces = (lines: any[]) =>
      JSON.parse(JSON.stringify(lines, (key, value) => (key === 'stack' ? '' : value)))
    t.same(withoutTraces(its.lines), withoutTraces(named))
    t.match(its.lines[0].err, {
      type: 'GracefulUpgradeError',
      code: 'GRACEFUL_UPGRADE_EXITED',
      lastWords: 'oh'
    })
    t.match(its.lines[0].err.stack, /lent-log\.test\.ts.*caused by: TypeError: no such file/s)
  }
)
