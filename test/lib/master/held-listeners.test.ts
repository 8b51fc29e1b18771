import t from 'tap'
import { createHeldListeners } from '../../../lib/master/held-listeners.js'
import { PlayedHandle } from '../../helper/played-end.ts'

const address = (key: string) => ({ key, bound: `${key} is bound` })

function setUp() {
  const held = createHeldListeners()
  const handles = [11, 12].map(fd => new PlayedHandle(fd))
  for (const handle of handles) t.ok(held.hold(address(`tcp::${handle.fd}`), handle))
  return { held, handles }
}

t.test('what is held is open, with its own descriptor', async t => {
  const { held, handles } = setUp()
  t.same(held.open(), [
    { key: 'tcp::11', bound: 'tcp::11 is bound', fd: 11 },
    { key: 'tcp::12', bound: 'tcp::12 is bound', fd: 12 }
  ])
  held.drop('tcp::11')
  held.drop('tcp::99')
  t.match(held.open(), [{ fd: 12 }])
  t.same(
    handles.map(({ isOpen }) => isOpen),
    [false, true]
  )
})

t.test('of a key only the last socket is held', async t => {
  const { held, handles } = setUp()
  held.hold(address('tcp::11'), new PlayedHandle(13))
  t.notOk(handles[0]!.isOpen)
  t.match(
    held.open().map(({ fd }) => fd),
    [12, 13]
  )
})

t.test('a listener without its socket is missing, and the one of before stays', async t => {
  const { held, handles } = setUp()
  t.notOk(held.hold(address('tcp::11'), undefined))
  t.notOk(held.hold(address('tcp::13'), undefined))
  t.ok(handles[0]!.isOpen)
  t.same(held.missing(['tcp::11', 'tcp::13']), ['tcp::13'])
})

t.test('after release() nothing is held, nor missed, whatever comes', async t => {
  const { held, handles } = setUp()
  held.release()
  held.release()
  const late = new PlayedHandle(13)
  t.ok(held.hold(address('tcp::13'), late))
  t.ok(held.hold(address('tcp::14'), undefined))
  for (const { isOpen } of [...handles, late]) t.notOk(isOpen)
  t.same(held.open(), [])
  t.same(held.missing(['tcp::11']), [])
})
