import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t from 'tap'
import type { Progress } from '../../../lib/control/messages.js'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { closed, controlFolder, hear, never, say, status, unusable } from '../../helper/control.ts'

const reloadLine = '{"command":"reload"}\n'
const statusLine = '{"command":"status"}\n'

t.test('a reload is answered with its progress and its result, in order', async t => {
  const { asked, open, connect } = controlFolder(t)
  const told: Progress[] = [
    { stage: 'booting', generation: 2, pid: 12 },
    { stage: 'ready', generation: 2, pid: 12, ms: 5 }
  ]
  await open(asked, {
    async reload(onProgress) {
      for (const progress of told) onProgress(progress)
    }
  })
  const answers = await say(await connect(asked), reloadLine)
  t.same(answers, [...told.map(progress => ({ progress })), { result: null }])
})

t.test(
  'a scale is answered with the number that serves, and what is no number of workers is no request',
  async t => {
    const { asked, open, connect } = controlFolder(t)
    const wanted: string[] = []
    await open(asked, {
      async scale(workers, onProgress) {
        wanted.push(workers)
        onProgress({ stage: 'scaling', workers: 1 })
        return 2
      }
    })
    const request = (workers: unknown) => `${JSON.stringify({ command: 'scale', workers })}\n`
    for (const workers of ['2', '+1', '-1']) {
      const answers = await say(await connect(asked), request(workers))
      t.same(answers, [{ progress: { stage: 'scaling', workers: 1 } }, { result: 2 }])
    }
    for (const workers of [undefined, 2, '', '+', '1.5', '++1', '1'.repeat(10), ['2']])
      t.match(await say(await connect(asked), request(workers)), [{ error: unusable }], String(workers))
    t.same(wanted, ['2', '+1', '-1'])
  }
)

t.test('a failure is told with its code and the last words', async t => {
  const { asked, open, connect } = controlFolder(t)
  let error: Error = new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'code 1', {
    lastWords: 'no database'
  })
  await open(asked, {
    async reload() {
      throw error
    }
  })
  const { message, code } = error as GracefulUpgradeError
  t.same(await say(await connect(asked), reloadLine), [
    { error: { code, message, lastWords: 'no database' } }
  ])
  error = new TypeError('a defect')
  t.same(await say(await connect(asked), reloadLine), [{ error: { ...unusable, message: 'a defect' } }])
})

t.test('a stop is answered, and its connection lasts until the end', async t => {
  const { asked, open, connect } = controlFolder(t)
  const control = await open(asked, { stop: async () => {} })
  const socket = await connect(asked)
  socket.write('{"command":"stop"}\n')
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  const taken = { stage: 'stopping', pid: process.pid }
  t.match(JSON.parse((await lines.next()).value!), { progress: taken }, 'who can be told that it is gone')
  t.same(JSON.parse((await lines.next()).value!), { result: null })
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
  t.notOk(socket.readableEnded)
  control.close()
  t.same(await say(socket, ''), [])
})

t.test('what is no request gets one error, and then the end', async t => {
  const { asked, open, connect } = controlFolder(t)
  await open(asked)
  const wrong = [
    '\n',
    'GET / HTTP/1.1\r\n\r\n',
    '{"command":"explode"}\n',
    'null\n',
    '[]\n',
    '{"command":["stop"]}\n'
  ]
  const requests = [
    ...wrong,
    Buffer.from([0xff, 0xfe, 0, 10]),
    '{"command":"toString"}\n',
    `${'x'.repeat(4_097)}`
  ]
  for (const request of requests) {
    const answers = await say(await connect(asked), request)
    t.match(answers, [{ error: unusable }], String(request).slice(0, 30))
    t.equal(answers.length, 1)
  }
  const padded = `${statusLine.trimEnd().padEnd(4_096)}\n`
  t.same(await say(await connect(asked), padded), [{ result: status }], 'four KiB are allowed')
  t.match(await say(await connect(asked), ` ${padded}`), [{ error: {} }], 'and no byte more')
})

t.test('a request may come in pieces, and in company: the first line counts', async t => {
  const { asked, open, connect } = controlFolder(t)
  let calls = 0
  await open(asked, {
    async status() {
      calls++
      return status
    }
  })
  const socket = await connect(asked)
  socket.setNoDelay()
  for (const piece of ['{"comm', 'and":"sta']) await new Promise(resolve => socket.write(piece, resolve))
  t.same(await say(socket, `tus"}\n${statusLine}${statusLine}`), [{ result: status }])
  t.equal(calls, 1)
})

t.test('a flood is cut off, before a request and behind it', async t => {
  const { asked, open, connect } = controlFolder(t)
  let reloads = 0
  await open(asked, {
    reload(onProgress) {
      reloads++
      onProgress({ stage: 'booting', generation: 2, pid: 12 })
      return never()
    }
  })
  for (const start of ['', reloadLine]) {
    const socket = await connect(asked)
    const cut = closed(socket)
    socket.write(start)
    if (start !== '') await once(socket, 'data')
    socket.resume()
    const flood = () => {
      while (socket.writable && socket.write(Buffer.alloc(65_536, 'x')));
    }
    socket.on('drain', flood)
    flood()
    await cut
  }
  t.equal(reloads, 1)
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('a client that has closed its half gets its answers', async t => {
  const { asked, open, connect } = controlFolder(t)
  const gate = createDeferred()
  await open(asked, {
    async reload(onProgress) {
      onProgress({ stage: 'booting', generation: 2, pid: 12 })
      await gate.promise
    }
  })
  const socket = await connect(asked)
  socket.end(reloadLine)
  const answers = hear(socket)
  await once(socket, 'data')
  t.same(await say(await connect(asked), statusLine), [{ result: status }], 'the server has seen the end')
  gate.resolve()
  t.same((await answers).at(-1), { result: null })
})

t.test('a client that closes its half without a request is ended at once', async t => {
  const { asked, open, connect } = controlFolder(t)
  await open(asked)
  const begun = performance.now()
  const socket = await connect(asked)
  socket.end('{"comm')
  t.same(await hear(socket), [])
  t.ok(performance.now() - begun < 4_000)
})

t.test('a client that goes away does not stop the upgrade', async t => {
  const { asked, open, connect } = controlFolder(t)
  const [started, gate, over] = [createDeferred(), createDeferred(), createDeferred()]
  await open(asked, {
    async reload(onProgress) {
      started.resolve()
      await gate.promise
      for (let i = 0; i < 3; i++) onProgress({ stage: 'booting', generation: 2, pid: 12 })
      over.resolve()
    }
  })
  const socket = await connect(asked)
  socket.write(reloadLine)
  await started.promise
  socket.destroy()
  await once(socket, 'close')
  gate.resolve()
  await over.promise
  t.same(await say(await connect(asked), statusLine), [{ result: status }])
})

t.test('a client that never reads is cut off', { timeout: 20_000 }, async t => {
  const { asked, open, connect } = controlFolder(t)
  const told = createDeferred()
  await open(asked, {
    reload(onProgress) {
      for (let i = 0; i < 20_000; i++) onProgress({ stage: 'booting', generation: i, pid: 12 })
      told.resolve()
      return never()
    }
  })
  const socket = await connect(asked)
  socket.pause()
  socket.write(reloadLine)
  await told.promise
  const heard = hear(socket)
  socket.resume()
  t.ok((await heard).length < 20_000)
})

t.test(
  'who has not made a request in five seconds is cut off, however busy',
  { timeout: 20_000 },
  async t => {
    const { asked, open, connect } = controlFolder(t)
    await open(asked)
    const begun = performance.now()
    const silent = async () => t.same(await hear(await connect(asked)), [])
    const slow = async () => {
      const socket = await connect(asked)
      const timer = setInterval(() => socket.write(' '), 500)
      t.same(await hear(socket), [])
      clearInterval(timer)
    }
    await Promise.all([silent(), slow()])
    const ms = performance.now() - begun
    t.ok(ms > 4_900 && ms < 9_000, `${ms} ms`)
  }
)
