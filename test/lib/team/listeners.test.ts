import t from 'tap'
import type { OpenListener } from '../../../lib/listeners/address.js'
import { inheritedFor, listenersOf } from '../../../lib/team/listeners.js'
import type { Slot } from '../../../lib/team/slot.js'

const port = { key: 'tcp::3000', bound: '0.0.0.0:3000', fd: 5 }
const admin = { key: 'tcp::3001', bound: '0.0.0.0:3001', fd: 6 }

function slots(...listeners: readonly (readonly OpenListener[])[]): Slot[] {
  return listeners.map((each, index) => ({ index, listeners: () => each }) as unknown as Slot)
}

t.test('a listener is there once, with who has it', t => {
  t.same(listenersOf(slots([port, admin], [{ ...port, fd: 7 }])), [
    { ...port, workers: [0, 1], of: 2 },
    { ...admin, workers: [0], of: 2 }
  ])
  t.end()
})

t.test('one that has left its place and one that came count once', t => {
  t.match(listenersOf(slots([port, { ...port, fd: 9 }])), [{ ...port, workers: [0] }])
  t.end()
})

t.test('nobody waits for a worker to ask for what the one before it in its place did not want', t => {
  const known = listenersOf(slots([port, admin], [port]))
  t.same(inheritedFor(0, known), [port, admin])
  t.same(inheritedFor(1, known), [port, { ...admin, isOptional: true }])
  t.same(
    inheritedFor(2, known),
    [port, { ...admin, isOptional: true }],
    'nor in a new place, if not all wanted it'
  )
  t.end()
})

t.test('of what a single worker had, nobody knows who of several wants it', t => {
  t.same(inheritedFor(1, listenersOf(slots([port, admin]))), [port, admin])
  t.same(inheritedFor(1, [port]), [port], 'nor of what comes from elsewhere')
  t.end()
})
