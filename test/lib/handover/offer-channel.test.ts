import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { OfferAnswer, OfferMessage, Relay } from '../../../lib/handover/offer.js'
import { createOfferChannel, type OfferChannel } from '../../../lib/handover/offer-channel.js'
import type { RawHandle } from '../../../lib/internals/raw-handle.js'
import { PlayedHandle } from '../../helper/played-end.ts'

const offer = { listener: { key: 'tcp::3000', bound: '0.0.0.0:3000' }, idleTime: 4_000 }

interface Sent {
  readonly message: OfferMessage
  readonly handle: RawHandle | undefined
  readonly onSent: ((error: Error | null) => void) | undefined
}

/** One end whose other end is the test. */
function setUp(take: Relay = () => Promise.reject(new Error('nothing is offered'))) {
  const sent: Sent[] = []
  const channel = createOfferChannel(
    (message, handle, onSent) => void sent.push({ message, handle, onSent }),
    take
  )
  return { channel, sent, messages: () => sent.map(({ message }) => message) }
}

/** Two ends, one of which loses each handle that it is told to. */
function connect(take: { readonly left: Relay; readonly right: Relay }, isLost = (_: RawHandle) => false) {
  const deliver =
    (to: () => OfferChannel) =>
    (message: OfferMessage, handle?: RawHandle, onSent?: (error: Error | null) => void): void => {
      // Node.js drops a message whose handle hasn't arrived.
      if (handle === undefined || !isLost(handle)) setImmediate(() => to().receive(message, handle))
      setImmediate(() => onSent?.(null))
    }
  const left: OfferChannel = createOfferChannel(
    deliver(() => right),
    take.left
  )
  const right: OfferChannel = createOfferChannel(
    deliver(() => left),
    take.right
  )
  return { left, right }
}

t.test('a connection arrives at the other end with its handle, and its answer comes back', async t => {
  const arrived: [object, RawHandle][] = []
  const take = (answer: OfferAnswer): Relay => {
    return async (...given) => {
      arrived.push(given)
      return answer
    }
  }
  const { left, right } = connect({ left: take('unavailable'), right: take('adopted') })
  const handles = [new PlayedHandle(21), new PlayedHandle(22)]
  const answers = [left.offer(offer, handles[0]!), right.offer({ ...offer, idleTime: null }, handles[1]!)]
  t.same(await Promise.all(answers), ['adopted', 'unavailable'], 'both ends may offer at the same time')
  t.same(arrived, [
    [offer, handles[0]],
    [{ ...offer, idleTime: null }, handles[1]]
  ])
  for (const { isOpen } of handles) t.ok(isOpen, 'they stay the callers’')
})

t.test('one whose handle the system drops on the way is refused, and the others arrive', async t => {
  const take: Relay = () => turn('adopted')
  const { left } = connect({ left: take, right: take }, handle => handle.fd === 22)
  const answers = [21, 22, 23].map(fd => left.offer(offer, new PlayedHandle(fd)))
  t.same(await Promise.all(answers), ['adopted', 'refused', 'adopted'])
})

t.test('an offer that comes without its handle is refused once that is sure', async t => {
  const { channel, messages } = setUp()
  channel.receive({ type: 'offer', id: 7, offer }, undefined)
  await turn()
  t.same(messages(), [])
  channel.receive({ type: 'offered', id: 7 }, undefined)
  t.same(messages(), [{ type: 'answer', id: 7, answer: 'refused' }])
})

t.test('silence is no answer, and a second answer none either', async t => {
  const { channel, messages } = setUp()
  const answer = channel.offer(offer, new PlayedHandle(21))
  const [{ id }] = messages() as [OfferMessage]
  t.same(messages(), [
    { type: 'offer', id, offer },
    { type: 'offered', id }
  ])
  t.equal(await Promise.race([answer, turn('silence')]), 'silence')
  channel.receive({ type: 'answer', id: id + 1, answer: 'refused' }, undefined)
  channel.receive({ type: 'answer', id, answer: 'adopted' }, undefined)
  channel.receive({ type: 'answer', id, answer: 'refused' }, undefined)
  t.equal(await answer, 'adopted')
})

t.test(
  'when the other end is gone: what it had taken is as it is told here, what not is unavailable',
  async t => {
    for (const gone of ['lost', 'unavailable'] as const) {
      const { channel, sent } = setUp()
      const taken = channel.offer(offer, new PlayedHandle(21))
      for (const { onSent } of sent) onSent?.(null)
      const notTaken = channel.offer(offer, new PlayedHandle(22))
      sent[2]!.onSent?.(null)
      channel.close(gone)
      t.equal(await taken, gone)
      t.equal(await notTaken, 'unavailable')
      t.equal(await channel.offer(offer, new PlayedHandle(23)), 'unavailable')
      t.equal(sent.length, 4, 'nothing is sent any more')
    }
  }
)

t.test(
  'one that could not be sent was never there; one behind which nothing could be sent may have been',
  async t => {
    const { channel, sent } = setUp()
    const answers = [21, 22].map(fd => channel.offer(offer, new PlayedHandle(fd)))
    const error = new Error('EPIPE')
    for (const [index, said] of [error, error, null, error].entries()) sent[index]!.onSent?.(said)
    channel.close('lost')
    t.same(await Promise.all(answers), ['unavailable', 'lost'])
  }
)
