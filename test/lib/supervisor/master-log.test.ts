import { Writable } from 'node:stream'
import pino from 'pino'
import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import type { Log } from '../../../lib/log.js'
import { createMasterLog } from '../../../lib/supervisor/master-log.js'

function capture(isTTY: boolean): { output: NodeJS.WriteStream; text: () => string } {
  let text = ''
  const output = new Writable({
    write(chunk, _encoding, done) {
      text += chunk
      done()
    }
  })
  return { output: Object.assign(output, { isTTY }) as unknown as NodeJS.WriteStream, text: () => text }
}

const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'it ended', {
  lastWords: 'a\nb',
  cause: new Error('the reason')
})

function speak(log: Log): void {
  log.info({ generation: 2, generationPid: 7, ms: 12, unclaimed: [] }, 'generation ready')
  log.warn('a sentence alone')
  log.error({ err: error, generation: 3, generationPid: 8 }, 'upgrade failed')
  log.fatal({ signal: null }, 'given up')
  log.info({ signal: undefined }, 'closing')
  log.error({ generation: 4, generationPid: undefined, code: null }, 'upgrade failed')
}

t.test('elsewhere than on a terminal the lines are those of pino', async t => {
  const own = capture(false)
  speak(createMasterLog(own.output))
  const other = capture(false)
  speak(pino({}, other.output) as unknown as Log)
  const parse = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map(line => ({ ...JSON.parse(line), time: 0 }))
  const [lines, expected] = [parse(own.text()), parse(other.text())]
  for (const line of [...lines, ...expected]) {
    // pino puts the cause into message and stack
    if (line.err) line.err = { type: line.err.type, code: line.err.code, lastWords: line.err.lastWords }
  }
  t.same(lines, expected)
  t.match(own.text(), /"message":"[^"]*it ended"/)
  t.match(own.text(), /"cause":\{[^}]*"message":"the reason"/)
})

t.test('on a terminal they are sentences', async t => {
  const { output, text } = capture(true)
  speak(createMasterLog(output))
  t.same(
    text().replace(/^\d\d:\d\d:\d\d /gm, ''),
    [
      'generation ready (generation 2, pid 7), 12 ms',
      'warning: a sentence alone',
      `error: upgrade failed (generation 3, pid 8): ${error.message}`,
      'error: given up',
      'closing',
      'error: upgrade failed (generation 4)',
      ''
    ].join('\n')
  )
})

t.test('a log that cannot be written ends nothing', async t => {
  const { output } = capture(false)
  createMasterLog(output)
  t.doesNotThrow(() => output.emit('error', new Error('EPIPE')))
})
