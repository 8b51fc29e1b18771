import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Server, type StartOptions, startServer } from './server.ts'
import { startTalking, type Talker, type TalkerOptions } from './talk.ts'

/** test/fixture/kept.js, as it runs. */
export interface House {
  readonly server: Server
  /** One for each kind of compression, and one for the protocol of its own. */
  readonly ports: readonly number[]
}

export async function start(t: Test, options: StartOptions = {}): Promise<House> {
  const server = startServer(t, { fixture: 'kept.js', ...options })
  const { ports } = await server.line('listening on')
  if (options.supervised) await server.line('generation ready')
  return { server, ports }
}

/** Clients that talk, a third each by each kind of compression. */
export function party(t: Test, { ports }: House, count: number, options: Partial<TalkerOptions> = {}) {
  const talks = Array.from({ length: count }, (_, index) =>
    startTalking(t, ports[index % 3]!, { name: `guest-${index}`, ...options })
  )
  return Promise.all(talks)
}

/** All have heard something of a generation. @throws if one has closed that has not */
export async function heard(talkers: readonly Talker[], generation: number): Promise<void> {
  for (const { generations, socket, closed } of talkers) {
    while (generations.at(-1) !== generation) {
      if (socket.readyState === socket.CLOSED)
        throw new Error(`closed with ${await closed} before generation ${generation}: ${generations}`)
      await sleep(10)
    }
  }
}

/** All end in peace, and have found nothing wrong. */
export async function endAll(t: Test, talkers: readonly Talker[]): Promise<void> {
  await Promise.all(talkers.map(talker => talker.end()))
  for (const { wrong } of talkers) t.same(wrong, [])
}

/** A client that keeps what it is told. */
export async function get(t: Test, port: number, route: string, headers = '', method = 'GET') {
  const client = net.connect(port, '127.0.0.1')
  t.teardown(() => client.destroy())
  let text = ''
  client.setEncoding('latin1').on('data', chunk => (text += chunk))
  const ended = new Promise(resolve => client.once('end', resolve))
  client.write(`${method} ${route} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`)
  const said = async (pattern: RegExp) => {
    while (!pattern.test(text)) await sleep(5)
    return text
  }
  await said(/\r\n\r\n/)
  return {
    client,
    said,
    text: ended.then(() => text),
    /** In a body of lines, chunked or not. */
    numbers: async () =>
      [...text.matchAll(/^(?:data:)? *(\d+)(?: \d+)?\n/gm)].map(([, number]) => Number(number))
  }
}
