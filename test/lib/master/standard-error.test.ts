import { EventEmitter } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { openStandardError } from '../../../lib/master/standard-error.js'

/** A process whose outputs are kept; `most` bytes are written at a time. */
function setUp(most = Number.POSITIVE_INFINITY) {
  const own: string[] = []
  const others: string[] = []
  let asked = 0
  const stderr = Object.assign(new EventEmitter(), {
    write: (chunk: string | Uint8Array) => own.push(String(chunk)) > 0
  })
  const outputs = {
    get stderr() {
      asked++
      return stderr as unknown as NodeJS.WriteStream
    },
    writeSync(descriptor: number, chunk: Buffer, offset: number) {
      const part = chunk.subarray(offset, offset + most)
      others.push(`${descriptor}: ${part}`)
      return part.length
    }
  }
  return { stderr, outputs, own, others, asked: () => asked, standardError: openStandardError(outputs) }
}

t.test("it is the process's own, which is not opened before something is said", async t => {
  const { standardError, own, others, asked } = setUp()
  t.equal(standardError.fd, 2)
  t.equal(asked(), 0)
  standardError.write(Buffer.from('one'))
  standardError.write(Buffer.from('two'))
  t.same(own, ['one', 'two'])
  t.same(others, [])
})

t.test('a reader that is gone does no harm', async t => {
  const { standardError, stderr } = setUp()
  standardError.write(Buffer.from('one'))
  standardError.write(Buffer.from('two'))
  t.equal(stderr.listenerCount('error'), 1, 'one listener, whatever is said')
  stderr.emit('error', new Error('EPIPE'))
})

t.test('after the master is lost all goes to its descriptor, also what the application says', async t => {
  const { standardError, stderr, own, others } = setUp(4)
  standardError.replace(4)
  t.equal(standardError.fd, 4, 'and the workers of this one inherit that')
  standardError.write(Buffer.from('a worker'))
  let called = 0
  const onWritten = () => called++
  t.equal(stderr.write('text'), true)
  ;(stderr.write as NodeJS.WriteStream['write'])('utf8', 'utf8', onWritten)
  ;(stderr.write as NodeJS.WriteStream['write'])(new Uint8Array([72, 105]), onWritten)
  t.same(others, ['4: a wo', '4: rker', '4: text', '4: utf8', '4: Hi'])
  t.same(own, [])
  t.equal(called, 0, 'not within the call')
  await turn()
  t.equal(called, 2)
  stderr.emit('error', new Error('EPIPE'))
})

t.test('a descriptor that takes nothing ends nothing', async t => {
  const { outputs } = setUp()
  const full = openStandardError({
    get stderr() {
      return outputs.stderr
    },
    writeSync() {
      throw Object.assign(new Error('full'), { code: 'EAGAIN' })
    }
  })
  full.replace(4)
  t.doesNotThrow(() => full.write(Buffer.from('lost')))
})
