import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { relayStandardError } from '../../../lib/master/last-words.js'
import { stopTimers } from '../../helper/timers.ts'

function setUp() {
  const stderr = new PassThrough()
  const written: Buffer[] = []
  const lastWords = relayStandardError(stderr, { fd: 2, write: chunk => void written.push(chunk) })
  return { stderr, lastWords, written: () => Buffer.concat(written) }
}

t.test('what a worker says is passed on unchanged, be it text or not', async t => {
  const { stderr, written } = setUp()
  const bytes = Buffer.from([0, 255, 195, 10, 128])
  stderr.write(bytes)
  stderr.write('\n\n')
  await turn()
  t.same(written(), Buffer.concat([bytes, Buffer.from('\n\n')]))
})

t.test('the last twenty lines are remembered, of no more than 4,096 characters', async t => {
  const { stderr, lastWords } = setUp()
  t.equal(lastWords.text(), '')
  for (let line = 1; line <= 30; line++) stderr.write(`line ${line}\n`)
  await turn()
  t.equal(lastWords.text().split('\n').length, 20)
  t.match(lastWords.text(), /^line 11\n.*line 30$/s)
  stderr.write('x'.repeat(10_000))
  await turn()
  t.equal(lastWords.text(), 'x'.repeat(4_096))
})

t.test('all is heard when the pipe is closed, at the latest after 200 ms', async t => {
  const pass = stopTimers(t)
  const closing = setUp()
  const held = setUp()
  const heard: string[] = []
  void closing.lastWords.heard().then(() => heard.push(`closed: ${closing.lastWords.text()}`))
  void held.lastWords.heard().then(() => heard.push('held'))
  closing.stderr.end('late')
  await pass(199)
  t.same(heard, ['closed: late'])
  await pass(1)
  t.same(heard, ['closed: late', 'held'])
})

t.test('where there is no pipe, or no more, nobody waits', async t => {
  stopTimers(t)
  const none = relayStandardError(null, { fd: 2, write() {} })
  await none.heard()
  t.equal(none.text(), '')
  const { stderr, lastWords } = setUp()
  stderr.destroy()
  await lastWords.heard()
})
