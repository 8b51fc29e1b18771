import t from 'tap'
import { createDeparture } from '../../../lib/process/departure.js'

t.test('that nobody follows is never taken back', t => {
  const departure = createDeparture('upgrade')
  departure.askedAgain('upgrade')
  t.equal(departure.reason, 'upgrade')
  departure.askedAgain('close')
  t.equal(departure.reason, 'close')
  departure.askedAgain('upgrade')
  t.equal(departure.reason, 'close')
  t.end()
})
