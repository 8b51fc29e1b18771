import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { listeningHandle } from '../../../lib/internals/listening.js'
import type { Log } from '../../../lib/log.js'
import { mainPid } from '../../../lib/master/generation.js'
import { startWorker } from '../../../lib/master/worker.js'
import { openChannel } from '../../../lib/protocol/channel.js'
import type { WorkerMessage } from '../../../lib/protocol/messages.js'
import { compile } from '../../helper/compile.ts'
import { temporaryFolder } from '../../helper/folder.ts'
import { PlayedEnd, PlayedHandle } from '../../helper/played-end.ts'
import { linesOf } from '../../helper/program.ts'
import { cleanEnvironment, stop } from '../../helper/server.ts'
import { stopTimers } from '../../helper/timers.ts'

const offer = { listener: { key: 'tcp::1', bound: '0.0.0.0:1' }, idleTime: null }

/** A channel to another end, which the test plays; `isLost` says what the channel does. */
function setUp() {
  const end = new PlayedEnd()
  const channel = openChannel<WorkerMessage>(end)
  const told = { isLost: false }
  void channel.lost.then(() => {
    told.isLost = true
  })
  return { end, channel, told }
}

t.test('what is sent arrives in its order, as long as there is somebody', async t => {
  const { end, channel } = setUp()
  const handle = new PlayedHandle(21)
  const sent: (Error | null)[] = []
  channel.send({ type: 'dying' })
  channel.send({ type: 'unlisten', key: 'tcp::1' }, handle, error => sent.push(error))
  await turn()
  t.same(end.said, [{ type: 'dying' }, { type: 'unlisten', key: 'tcp::1' }])
  t.same(end.handles, [handle])
  t.same(sent, [null])
  t.ok(channel.isOpen())
  end.hangUp()
  t.notOk(channel.isOpen())
  channel.send({ type: 'dying' }, undefined, error => sent.push(error))
  await turn()
  t.equal(end.said.length, 2)
  t.equal(sent.length, 1)
})

t.test('all that the other end says is heard until it is lost, with a handle if it is a raw one', async t => {
  const { end, channel, told } = setUp()
  const heard: unknown[][] = []
  channel.hear((...words) => heard.push(words))
  const handle = new PlayedHandle(21)
  end.sayRaw("the application's own", handle)
  end.sayRaw({ type: 'serve' }, new net.Socket())
  t.same(heard, [
    ["the application's own", handle],
    [{ type: 'serve' }, undefined]
  ])
  t.notOk(told.isLost)
  end.hangUp()
  await turn()
  t.ok(told.isLost)
  end.sayRaw('too late')
  t.equal(heard.length, 2)
})

t.test('an end that was gone before it was asked is lost, but not within the call', async t => {
  const end = new PlayedEnd()
  end.connected = false
  await openChannel(end).lost
  t.same(end.said, [])
})

t.test('an end that dies with a handle to acknowledge is lost within 100 ms', async t => {
  const pass = stopTimers(t)
  const { end, channel, told } = setUp()
  end.standStill()
  channel.send({ type: 'dying' }, new PlayedHandle(21))
  channel.send({ type: 'dying' })
  await pass(1_000)
  t.notOk(told.isLost, 'it may just be slow')
  end.connected = false // Node.js says nothing
  await pass(99)
  t.notOk(told.isLost)
  await pass(1)
  t.ok(told.isLost)
})

t.test('nobody looks at an end that has acknowledged all', async t => {
  const pass = stopTimers(t)
  const { end, channel, told } = setUp()
  end.standStill()
  channel.send({ type: 'dying' }, new PlayedHandle(21))
  channel.send({ type: 'dying' })
  channel.send({ type: 'dying' }, new PlayedHandle(22))
  end.goOn()
  await turn()
  end.connected = false
  await pass(100)
  t.ok(told.isLost, 'what was sent before the second handle says nothing of that')

  const quiet = setUp()
  quiet.channel.send({ type: 'dying' }, new PlayedHandle(21))
  quiet.channel.send({ type: 'dying' })
  await turn()
  quiet.end.connected = false
  await pass(1_000)
  t.notOk(quiet.told.isLost, "'disconnect' will tell")
  quiet.end.emit('disconnect')
  await turn()
  t.ok(quiet.told.isLost)
})

// Where Node.js itself matters: a process dies while it has a handle to acknowledge, of which the other end is told nothing.

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {} // it has ended
}

function within<Value>(ms: number, promise: Promise<Value>): Promise<Value | string> {
  return Promise.race([promise, sleep(ms, `nothing within ${ms} ms`, { ref: false })])
}

async function openHandle(t: Test) {
  const server = net.createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  return listeningHandle(server)!
}

/** A worker that is ready, and a grandchild that has such descriptors of it. */
async function startPlayedWorker(t: Test, held: 'standard error' | 'standard error and the channel') {
  const script = `
    const { spawn } = require('node:child_process')
    const descriptors = ['ignore', 'ignore', 'inherit', ${held === 'standard error' ? "'ignore'" : '3'}]
    const { pid } = spawn('sleep', ['60'], { stdio: descriptors, detached: true })
    process.stderr.write(pid + '\\n')
    process.channel.ref()
    process.on('message', () => {})
    process.send({ gracefulUpgrade: { type: 'ready', unclaimed: [], endTimeout: 0 } })`
  let said = ''
  const write = (chunk: Buffer) => void (said += chunk)
  const context = {
    command: process.execPath,
    args: ['-e', script],
    directory: process.cwd(),
    environment: cleanEnvironment()
  }
  const ignore = () => {}
  const log = { info: ignore, warn: ignore, error: ignore, fatal: ignore } as Log
  const generation = startWorker(
    { context, log, standardError: { fd: 2, write }, readyTimeout: 60_000 },
    {
      number: 2,
      listeners: [],
      succeeds: 'worker',
      onUpgrade: () => Promise.reject(),
      onJudge: () => Promise.reject(),
      onInquire: () => Promise.reject(),
      onOffer: async () => 'refused'
    }
  )
  t.teardown(() => {
    generation.kill()
    kill(Number.parseInt(said, 10))
  })
  await generation.ready
  while (!said.endsWith('\n')) await sleep(5)
  return generation
}

for (const held of ['standard error', 'standard error and the channel'] as const) {
  t.test(`a worker dies that has not taken an offer, and a grandchild has its ${held}`, async t => {
    const generation = await startPlayedWorker(t, held)
    await stop(mainPid(generation))
    const answer = generation.adopt(offer, await openHandle(t))
    const retired = generation.retire()
    generation.kill()
    t.same(await generation.ended, { code: null, signal: 'SIGKILL' })
    t.equal(await within(10_000, answer), 'unavailable')
    t.match(await within(10_000, retired), { signal: 'SIGKILL', report: null })
    t.equal(await within(10_000, generation.adopt(offer, await openHandle(t))), 'unavailable')
    generation.signal('SIGUSR2') // reaches nobody, also where another process has its id
  })
}

/**
 * A master that answers nothing, and a worker that offers it a connection when it starts.
 * @param onOffer what the master does when it has the offer
 * @param then what the worker does when it has sent the offer
 */
function startPlayedMaster(t: Test, onOffer: string, then: string): ChildProcess {
  const worker = `
    import net from 'node:net'
    import { connectParent } from ${JSON.stringify(compile('process/parent', temporaryFolder(t)))}
    const master = process.ppid
    const parent = connectParent(async () => 'refused', {})
    const server = net.createServer().listen(0, '127.0.0.1')
    const offer = async number =>
      console.log(number, await parent.offer(${JSON.stringify(offer)}, server._handle))
    parent.once('lost', () => console.log('lost'))
    server.once('listening', () => {
      void offer(1)
      ${then}
    })`
  const master = `
    const { spawn } = require('node:child_process')
    const args = ['--input-type=module', '-e', ${JSON.stringify(worker)}]
    const child = spawn(process.execPath, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
    console.log(child.pid)
    child.on('message', ({ gracefulUpgrade: { type } }) => {
      ${onOffer}
    })`
  const env = cleanEnvironment()
  return spawn(process.execPath, ['-e', master], { env, stdio: ['pipe', 'pipe', 'inherit'] })
}

t.test('a master dies that has taken one offer, and not two others', async t => {
  const master = startPlayedMaster(
    t,
    "if (type === 'offered') console.log('taken')",
    `process.stdin.once('data', () => {
      void offer(2)
      void offer(3)
      void parent.drained({}).then(() => console.log('drained'))
      console.log('offered')
    })`
  )
  const line = linesOf(t, master)
  const pid = Number(await line())
  t.teardown(() => kill(pid))
  t.equal(await line(), 'taken')
  await stop(master.pid!)
  master.stdin!.write('\n')
  t.equal(await line(), 'offered')
  master.kill('SIGKILL')
  const said = Array.from({ length: 5 }, () => within(10_000, line()))
  t.same((await Promise.all(said)).sort(), ['1 lost', '2 unavailable', '3 unavailable', 'drained', 'lost'])
})

t.test('a master dies that has taken an offer, before the worker hears of that', async t => {
  const dead = "process.kill(process.pid, 'SIGKILL')"
  const master = startPlayedMaster(t, dead, 'while (process.ppid === master);')
  const line = linesOf(t, master)
  const pid = Number(await line())
  t.teardown(() => kill(pid))
  const said = [within(10_000, line()), within(10_000, line())]
  t.same((await Promise.all(said)).sort(), ['1 lost', 'lost'], 'it may have given it to another process')
})

/** A master with a client, whose connection it sends to its worker when it is told to; that writes to it what it hears. */
function startSendingMaster(t: Test, length: number): ChildProcess {
  const worker = `
    import net from 'node:net'
    import { openChannel } from ${JSON.stringify(compile('protocol/channel', temporaryFolder(t)))}
    const channel = openChannel(process)
    channel.hear(({ text }, handle) => new net.Socket({ handle }).write(text))
    channel.keepAlive(true)
    setInterval(() => {}, 1_000)
    console.log('there')`
  const master = `
    const { spawn } = require('node:child_process')
    const net = require('node:net')
    const args = ['--input-type=module', '-e', ${JSON.stringify(worker)}]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const server = net.createServer({ pauseOnConnect: true }, ({ _handle }) => {
      console.log('accepted')
      process.stdin.once('data', () => {
        child.send({ text: 'x'.repeat(${length}) }, _handle)
        console.log('sent')
      })
    })
    server.listen(0, '127.0.0.1', () => console.log(child.pid + ' ' + server.address().port))`
  return spawn(process.execPath, ['-e', master], {
    env: cleanEnvironment(),
    stdio: ['pipe', 'pipe', 'inherit']
  })
}

for (const [what, length, outcomes] of [
  ['is heard, and its connection goes on', 1_000, ['heard']],
  // By the libuv of Node.js 20 and 22 only a part of it is read.
  ['is heard whole, or its connection closes', 100_000, ['closed', 'heard']]
] as const) {
  t.test(`the last message of a master that has died, of ${length} bytes, ${what}`, async t => {
    const master = startSendingMaster(t, length)
    const line = linesOf(t, master)
    const first = [await line(), await line()].sort()
    const [pid, port] = first[0]!.split(' ').map(Number)
    t.teardown(() => kill(pid!))
    t.equal(first[1], 'there')
    const client = net.connect(port!, '127.0.0.1')
    t.teardown(() => client.destroy())
    let heard = 0
    const end = new Promise<string>(resolve => {
      client.on('error', () => {}).on('close', () => resolve('closed'))
      client.on('data', ({ length: more }) => (heard += more) === length && resolve('heard'))
    })
    t.equal(await line(), 'accepted')
    await stop(pid!)
    master.stdin!.write('\n')
    t.equal(await line(), 'sent')
    master.kill('SIGKILL')
    await once(master, 'exit')
    process.kill(pid!, 'SIGCONT')
    const outcome = await within(20_000, end)
    t.ok((outcomes as readonly string[]).includes(outcome), outcome)
  })
}
