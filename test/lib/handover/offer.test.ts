import t from 'tap'
import { listenerOf, readOfferMessage } from '../../../lib/handover/offer.js'

const here = { key: 'tcp::0', bound: 'here' }
const kept = {
  listener: here,
  bytes: '',
  told: { kind: 'webSocket', protocol: '', extensions: '' },
  state: '{}'
}

function read(part: object) {
  const offer = { listener: { key: '', bound: '' }, idleTime: null, kept: { ...kept, ...part } }
  return readOfferMessage({ type: 'offer', id: 1, offer })
}

t.test('a kept part is read if it is whole', async t => {
  t.ok(read({}))
  t.ok(read({ dictionary: 'AA==' }))
  t.ok(read({ told: { kind: 'stream', status: 200, framing: 'chunked', type: '' } }))
  t.ok(read({ told: { kind: 'socket' } }))
  for (const part of [
    { listener: undefined },
    { bytes: 1 },
    { state: undefined },
    { dictionary: 1 },
    { told: null },
    { told: { kind: 'other' } },
    { told: { kind: 'webSocket', protocol: '' } },
    { told: { kind: 'stream', status: '200', framing: '', type: '' } }
  ])
    t.notOk(read(part), JSON.stringify(part))
})

t.test('the listener of an offer is the one of its kept part', async t => {
  const offer = { listener: { key: '', bound: '' }, idleTime: null }
  t.same(listenerOf({ ...offer, kept: kept as never }), here)
  t.same(listenerOf({ ...offer, listener: here }), here)
})
