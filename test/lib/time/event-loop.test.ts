import { once } from 'node:events'
import t from 'tap'
import { afterReading, wholeTurn } from '../../../lib/time/event-loop.js'
import { followHttp } from '../../helper/accepted.ts'
import { standStill } from '../../helper/stand-still.ts'

t.test('what has come while the process stood still is read before the time is over', async t => {
  const { connect } = await followHttp(t)
  const { client, socket } = await connect()
  const heard: string[] = []
  socket.once('data', () => heard.push('data'))
  const over = new Promise<void>(resolve => {
    afterReading(1, () => {
      heard.push('time')
      resolve()
    })
  })
  client.write('GET')
  standStill(20)
  await over
  t.same(heard, ['data', 'time'])
})

t.test('it can be stopped, also when the time is over, and need not keep the process', async t => {
  const stops = [afterReading(1, () => t.fail()), afterReading(60_000, () => t.fail(), { ref: false })]
  const stopped = new Promise<void>(resolve => {
    setTimeout(() => {
      for (const stop of stops) stop()
      resolve()
    }, 1) // behind the first, in the same look at the timers
  })
  standStill(20)
  await stopped
  await wholeTurn()
})

t.test('a whole turn is enough for what has been sent to be heard', async t => {
  const { connect } = await followHttp(t)
  const { client, socket } = await connect()
  client.write('GET')
  const data = once(socket, 'data')
  let isHeard = false
  void data.then(() => (isHeard = true))
  await wholeTurn()
  t.ok(isHeard)
})
