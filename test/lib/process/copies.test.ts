import t from 'tap'
import { takeTurns } from '../../../lib/process/copies.js'

/** A copy of the package, and what it has done with what listens. */
function load(realm: object, isNeeded = () => false) {
  const done: string[] = []
  const listeners = { follow: () => void done.push('follow'), leave: () => void done.push('leave') }
  return { done, use: takeTurns(listeners, isNeeded, realm) }
}

t.test('a copy that nobody uses makes way for the next one, and comes back when it is used', async t => {
  const one = load({})
  const two = load({})
  t.same(one.done, ['leave'])
  t.same(two.done, [])
  one.use()
  t.same(one.done, ['leave', 'follow'])
  t.same(two.done, ['leave'])
  one.use()
  t.same(one.done, ['leave', 'follow'], 'once')
  two.use()
  t.same(one.done, ['leave', 'follow', 'leave'])
})

t.test('one that is used stays while another one is only loaded, and that must not be used then', async t => {
  const realm = {}
  let isNeeded = true
  const one = load(realm, () => isNeeded)
  const two = load(realm)
  t.same([one.done, two.done], [[], ['leave']])
  t.throws(two.use, { code: 'GRACEFUL_UPGRADE_DUPLICATE' })
  t.same([one.done, two.done], [[], ['leave']])
  isNeeded = false
  two.use()
  t.same([one.done, two.done], [['leave'], ['leave', 'follow']])
})

t.test('one that another test file has left in use makes way', async t => {
  const one = load({}, () => true)
  const two = load({})
  two.use()
  t.same([one.done, two.done], [['leave'], ['leave', 'follow']])
})

t.test('one that has made way is not asked any more, and can be forgotten', async t => {
  let asked = 0
  load({}, () => {
    asked++
    return false
  })
  load({})
  load({})
  t.equal(asked, 1)
})
