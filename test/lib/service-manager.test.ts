import { EventEmitter } from 'node:events'
import t from 'tap'
import { GracefulUpgradeError } from '../../lib/errors.js'
import type { Master, MasterEvents } from '../../lib/master.js'
import { tellServiceManager } from '../../lib/service-manager.js'

/** A master whose state the test sets, and what systemd is told of it. */
function setUp(state: Master['state']) {
  const said: string[] = []
  const serving = { generation: { number: 1, pid: 7 }, state: 'serving', since: 0 }
  const master = {
    events: new EventEmitter<MasterEvents>(),
    state,
    generations: () => (['starting', 'replacing'].includes(master.state) ? [] : [serving])
  }
  tellServiceManager(master as unknown as Master, {
    ready: status => said.push(`READY ${status}`),
    reloading: () => said.push('RELOADING'),
    stopping: () => said.push('STOPPING'),
    status: text => said.push(`STATUS ${text}`),
    close() {}
  })
  return { master, said, next: { number: 2, pid: 8 } as never }
}

const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'it ended')

t.test('a first start is ready, and no reload', async t => {
  const { master, said } = setUp('starting')
  master.events.emit('ready', { generation: 1, pid: 7, ms: 5 })
  t.same(said, ['STATUS generation 1 is booting', 'READY generation 1 serves (pid 7)'])
})

t.test('a reload that works, and one that fails, end with READY', async t => {
  const { master, said, next } = setUp('serving')
  said.length = 0
  master.events.emit('booting', next)
  master.events.emit('ready', { generation: 2, pid: 8, ms: 5 })
  t.same(said.splice(0), ['RELOADING', 'STATUS generation 2 is booting', 'READY generation 2 serves (pid 8)'])
  master.events.emit('booting', next)
  master.events.emit('failed', next, error, 5)
  t.same(said, [
    'RELOADING',
    'STATUS generation 2 is booting',
    `READY generation 1 serves on (pid 7), 2 failed: ${error.message}`
  ])
})

t.test('a reload that is refused is over at once', async t => {
  const { master, said } = setUp('serving')
  said.length = 0
  master.events.emit('refused', error)
  t.same(said, ['RELOADING', `READY generation 1 serves on (pid 7), ${error.message}`])
})

t.test('one that is refused because another is under way ends with that', async t => {
  const { master, said } = setUp('serving')
  said.length = 0
  master.state = 'upgrading'
  master.events.emit('refused', error)
  t.same(said, ['RELOADING'])
})

t.test('a reload that ends the pause after a crash is one', async t => {
  const { master, said, next } = setUp('serving')
  said.length = 0
  master.state = 'replacing'
  master.events.emit('booting', next)
  t.equal(said[0], 'RELOADING')
})

t.test('on the way out nothing but that is told', async t => {
  const { master, said } = setUp('serving')
  said.length = 0
  master.state = 'closing'
  master.events.emit('closing')
  master.events.emit('refused', error)
  t.same(said, ['STOPPING'])
})
