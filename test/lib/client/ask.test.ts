import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import t from 'tap'
import { ask } from '../../../lib/client/ask.js'
import type { Progress } from '../../../lib/control/messages.js'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { controlFolder, lost, never, status, unusable } from '../../helper/control.ts'

t.test('the progress of a reload comes in order, and before its end', async t => {
  const { open, asked } = controlFolder(t)
  const counts = { fresh: 0, idle: 2, active: 1, detached: 0 }
  const told: Progress[] = [
    { stage: 'booting', generation: 2, pid: 12 },
    { stage: 'ready', generation: 2, pid: 12, ms: 5 },
    { stage: 'draining', generation: 1, pid: 11, connections: counts },
    { stage: 'draining', generation: 1, pid: 11, connections: null },
    { stage: 'retired', generation: 1, pid: 11, ms: 7, code: null, signal: 'SIGKILL', report: null }
  ]
  const heard: Progress[] = []
  await open(asked, {
    async reload(onProgress) {
      for (const progress of told) onProgress(progress)
    }
  })
  t.equal(await ask(asked, 'reload', progress => heard.push(progress)), undefined)
  t.same(heard, told)
})

t.test('a scale comes back with the number that serves', async t => {
  const { open, pretend, asked } = controlFolder(t)
  await open(asked, { scale: async workers => Number(workers) + 5 })
  t.equal(await ask(asked, { command: 'scale', workers: '+1' }), 6)
  for (const [index, result] of ['null', '"6"', '-1', '{}'].entries()) {
    await pretend(`${asked}${index}`, `{"result":${result}}\n`)
    const answer = ask(`${asked}${index}`, { command: 'scale', workers: '6' })
    await t.rejects(answer, { ...unusable, message: /no number of workers/ }, result)
  }
})

t.test('an error of the other side arrives as it was', async t => {
  const { open, asked, pretend } = controlFolder(t)
  const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'exit code 1', {
    lastWords: 'no database'
  })
  await open(asked, { reload: () => Promise.reject(error) })
  const received = await ask(asked, 'reload').catch(error => error)
  t.ok(received instanceof GracefulUpgradeError)
  t.match(received, { code: error.code, message: error.message, lastWords: 'no database' })
  await pretend(`${asked}2`, '{"error":{"code":"GRACEFUL_UPGRADE_OF_2040","message":"too old"}}\n')
  await t.rejects(
    ask(`${asked}2`, 'reload'),
    { ...unusable, message: 'too old' },
    'also with an unknown code'
  )
})

t.test('a master that goes without an answer is lost', async t => {
  const { pretend, listen, asked } = controlFolder(t)
  await pretend(asked, '')
  await t.rejects(ask(asked, 'reload'), lost)
  await pretend(`${asked}2`, '{"progress":{"stage":"booting","generation":2,"pid":12}}\n{"resu')
  await t.rejects(ask(`${asked}2`, 'status'), lost)
  await listen(`${asked}3`, socket => socket.destroy())
  await t.rejects(ask(`${asked}3`, 'status'), lost)
})

t.test('a stop has succeeded when it is answered and the connection has ended, and not before', async t => {
  const { listen, pretend, asked } = controlFolder(t)
  let peer: Socket | undefined
  await listen(asked, socket => {
    peer = socket
    const later = { progress: { stage: 'booting', generation: 2, pid: 12 } }
    socket.once('data', () => socket.write(`{"result":null}\n${JSON.stringify(later)}\n`))
  })
  let isOver = false
  let stop: Promise<void> = never()
  await new Promise<unknown>(resolve => {
    stop = ask(asked, 'stop', resolve).then(() => {
      isOver = true
    })
  })
  await new Promise(setImmediate)
  t.notOk(isOver)
  peer?.end()
  await stop

  await pretend(`${asked}2`, '{"error":{"code":"GRACEFUL_UPGRADE_USAGE","message":"too many"}}\n')
  await t.rejects(ask(`${asked}2`, 'stop'), { message: 'too many' })
})

t.test('a connection that ends without an answer is no success while the server goes on', async t => {
  const { pretend, asked } = controlFolder(t)
  const message = /ended the connection, and goes on: ask again/
  await pretend(asked, '')
  for (const command of ['stop', 'reload'] as const)
    await t.rejects(ask(asked, command), { ...lost, message })
  await t.rejects(ask(asked, 'status'), { ...lost, message })
})

t.test('who is one too many is told so, also behind a request that nobody has read', async t => {
  const { open, asked } = controlFolder(t)
  await open(asked)
  const silent = Array.from({ length: 40 }, () => net.connect(asked).on('error', () => {}))
  t.teardown(() => silent.forEach(socket => void socket.destroy()))
  await Promise.all(silent.map(socket => once(socket, 'connect')))
  for (let i = 0; i < 20; i++) {
    for (const command of ['stop', 'reload'] as const) {
      await t.rejects(ask(asked, command), { ...unusable, message: /too many connections/ })
    }
  }
})

t.test('what a later version says besides is passed over', async t => {
  const { pretend, asked } = controlFolder(t)
  const later = [
    '{"hint":1}',
    '{"progress":{"stage":"stretching","generation":2,"pid":1}}',
    '{"progress":null}'
  ]
  await pretend(asked, [...later, '{"result":null,"more":1}', ''].join('\n'))
  const heard: Progress[] = []
  await ask(asked, 'reload', progress => heard.push(progress))
  t.same(heard, [])
})

t.test('what is no master is found out', async t => {
  const { pretend, asked } = controlFolder(t)
  const answers = ['HTTP/1.1 400 Bad Request\n', '7\n', '{"error":"no"}\n', `{"${'x'.repeat(2 ** 20)}`]
  for (const [index, answer] of answers.entries()) {
    await pretend(`${asked}${index}`, answer)
    await t.rejects(ask(`${asked}${index}`, 'reload'), { ...unusable, message: /is no master/ })
  }
  await pretend(asked, '{"result":{"pid":"1"}}\n')
  await t.rejects(ask(asked, 'status'), { ...unusable, message: /answers with no status/ })
})

t.test('who gives up waiting leaves the command running', async t => {
  const { open, asked } = controlFolder(t)
  let finish: () => void = () => {}
  const gate = new Promise<void>(resolve => {
    finish = resolve
  })
  let reloaded: Promise<void> | undefined
  await open(asked, {
    reload(onProgress) {
      onProgress({ stage: 'booting', generation: 2, pid: 12 })
      reloaded = gate
      return gate
    }
  })
  const giveUp = new AbortController()
  const reload = ask(asked, 'reload', () => giveUp.abort(), giveUp.signal)
  await t.rejects(reload, lost)
  finish()
  await reloaded
  t.same(await ask(asked, 'status'), status)
  await t.rejects(ask(asked, 'status', undefined, AbortSignal.abort()), lost)
})

t.test('metrics are text, and what is none is no answer', async t => {
  const { open, pretend, asked } = controlFolder(t)
  await open(asked, { metrics: async () => '# EOF\n' })
  t.equal(await ask(asked, 'metrics'), '# EOF\n')
  await pretend(`${asked}2`, '{"result":{"text":"# EOF"}}\n')
  await t.rejects(ask(`${asked}2`, 'metrics'), { ...unusable, message: /answers with no metrics/ })
})
