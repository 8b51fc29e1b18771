import t from 'tap'
import { onReload } from '../../lib/signals.js'

t.test('a signal that has come is not lost while its listener is replaced', async t => {
  const warnings: unknown[] = []
  const note = (fields: unknown) => void warnings.push(fields)
  const log = { info: note, warn: note, error: note, fatal: note }
  let early = 0
  let reloads = 0
  const onEarly = () => void early++
  const others = process.listeners('SIGUSR2')
  process.on('SIGUSR2', onEarly)
  await new Promise(resolve => setImmediate(resolve))
  process.kill(process.pid, 'SIGUSR2') // it is noted at once, and told of in a later turn
  const reloaded = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the signal was lost')), 10_000)
    const reload = () => {
      reloads++
      clearTimeout(timer)
      resolve()
    }
    const leave = onReload('SIGUSR2', log as never, { reload, onHangup() {} }, onEarly)
    process.off('SIGUSR2', onEarly)
    t.teardown(leave)
  })
  await reloaded
  t.equal(reloads, 1)
  t.equal(early, 0)
  t.equal(warnings.length, others.length, 'and nobody is warned of a listener of ours')
})
