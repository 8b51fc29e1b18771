import t from 'tap'
import { createPicture } from '../../../lib/client/watch.js'
import { sink } from '../../helper/control-examples.ts'

/** What a terminal of this size shows after all that was written: it knows just what a picture uses. */
function shown(written: string, rows: number): string[] {
  let screen: string[] = Array.from({ length: rows }, () => 'from before')
  let row = 0
  for (const [, code, text = ''] of written
    .replaceAll('\x1b', '^')
    .matchAll(/(\^\[\d*[A-Z]|\r\n)?([^^\r]*)/g)) {
    if (code === '^[H') row = 0
    else if (code === '^[2J') screen = screen.map(() => '')
    else if (code === '^[K') screen[row] = ''
    else if (code === '^[J') screen.fill('', row)
    else if (code === '\r\n') row++
    if (text !== '') screen[row] = text
  }
  return screen
}

t.test('a picture takes the place of the one before, and leaves nothing of it behind', async t => {
  const stdout = sink(10, 5)
  const draw = createPicture(stdout)
  draw('one\nlonger\nthree\n')
  let written = stdout.written()
  t.same(shown(written, 5), ['one', 'longer', 'three', '', ''])
  draw('two\nx\n')
  written += stdout.written()
  t.same(shown(written, 5), ['two', 'x', '', '', ''])
})

t.test('what is larger than the terminal is cut: it would scroll', async t => {
  const stdout = sink(10, 3)
  createPicture(stdout)('0123456789\n01234567890\nthird\nfourth\n')
  t.same(shown(stdout.written(), 3), ['0123456789', '012345678…', ''])
})

t.test('without a terminal a picture is its text', async t => {
  const stdout = sink()
  createPicture(stdout)('a\nb\n')
  t.equal(stdout.written(), 'a\nb\n')
})
