import t from 'tap'
import { duration } from '../../../lib/client/duration.js'

t.test('a time is told in two units at most', async t => {
  const times: [number, string][] = [
    [0, '0 ms'],
    [99.6, '100 ms'],
    [100, '0.1 s'],
    [449, '0.4 s'],
    [59_999, '59.9 s'],
    [60_000, '1 min 0 s'],
    [3_599_999, '59 min 59 s'],
    [3_600_000, '1 h 0 min'],
    [86_399_999, '23 h 59 min'],
    [86_400_000, '1 d 0 h']
  ]
  for (const [ms, text] of times) t.equal(duration(ms), text)
})
