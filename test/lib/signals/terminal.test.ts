import t from 'tap'
import { followTerminal, watchTerminal } from '../../../lib/signals/terminal.js'
import { playHost } from '../../helper/play/host.ts'
import { playLog } from '../../helper/play/log.ts'

// What is waited for keeps no process alive.
const alive = setInterval(() => {}, 1_000)
t.teardown(() => clearInterval(alive))

function play(isThere = true) {
  const state = { isThere, left: 0 }
  const host = playHost()
  const terminal = watchTerminal(
    () => void state.left++,
    () => state.isThere,
    host
  )
  return { state, terminal, tick: host.tick }
}

t.test('a terminal that has gone for two looks has left this process behind, and is told of once', t => {
  const { state, tick } = play()
  tick()
  state.isThere = false
  tick()
  t.equal(state.left, 0, 'the signal may be on its way')
  tick()
  tick()
  t.equal(state.left, 1)
  t.end()
})

t.test('SIGHUP is its end only when it has gone, and once more just afterwards', async t => {
  const { state, terminal, tick } = play()
  t.notOk(await terminal.hasHungUp())
  state.isThere = false
  t.ok(await terminal.hasHungUp())
  t.ok(await terminal.hasHungUp(), 'from the shell, too')
  tick()
  tick()
  t.equal(state.left, 0, 'nobody was left behind')
})

t.test('who was left behind, or had no terminal, is reloaded by SIGHUP', async t => {
  const { state, terminal, tick } = play()
  state.isThere = false
  tick()
  tick()
  t.equal(state.left, 1)
  t.notOk(await terminal.hasHungUp())
  t.notOk(await play(false).terminal.hasHungUp())
})

t.test('nothing is told after leave()', t => {
  const { state, terminal, tick } = play()
  terminal.leave()
  state.isThere = false
  tick()
  tick()
  t.equal(state.left, 0)
  t.end()
})

t.test('a master ends with its terminal, but under nohup it serves on, and says so once', t => {
  const [ends, stays] = [playLog(), playLog()]
  const calls: string[] = []
  const end = () => void calls.push('end')
  const start = (isUnderNohup: boolean) => ({ hasTerminal: () => true, isUnderNohup: () => isUnderNohup })
  followTerminal(ends.log, end, start(false)).onHangup()
  t.same(calls, ['end'])
  const nohup = followTerminal(stays.log, end, start(true))
  nohup.onHangup()
  nohup.onHangup()
  t.same(calls, ['end'])
  t.same([ends.lines, stays.lines], [[], ['info: terminal closed, serving on']])
  t.end()
})
