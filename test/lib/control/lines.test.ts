import t from 'tap'
import { parseLine, splitLines } from '../../../lib/control/lines.js'

t.test('lines are cut from chunks, wherever these end', async t => {
  const split = splitLines(10)
  t.same(split(Buffer.from('one\ntw')), ['one'])
  t.same(split(Buffer.from('o')), [])
  const euro = Buffer.from('€\n')
  t.same(split(euro.subarray(0, 1)), [])
  t.same(split(euro.subarray(1)), ['two€'], 'also within a character')
  t.same(split(Buffer.from('\n\n')), ['', ''])
})

t.test('a line that is too long is found out with its end, and before it', async t => {
  t.same(splitLines(3)(Buffer.from('abc\n')), ['abc'])
  t.equal(splitLines(3)(Buffer.from('ok\nabcd\n')), undefined)
  t.equal(splitLines(3)(Buffer.from('abcd')), undefined)
  t.equal(splitLines(3)(Buffer.from('€€\n')), undefined, 'in bytes')
})

t.test('a line that is no JSON is nothing', async t => {
  t.equal(parseLine('{"a"'), undefined)
  t.same(parseLine('{"a":1}'), { a: 1 })
})
