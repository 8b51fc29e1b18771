import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { createDeflateRaw, constants as zlib } from 'node:zlib'
import { closingBrace, host } from './harness.ts'

/** By what the client and the server agree on. */
export type Kind = 'none' | 'context' | 'no context'

export const kinds: Readonly<Record<Kind, string>> = {
  none: 'no compression',
  context: 'context takeover',
  'no context': 'no context takeover'
}

/** WebSockets of a client that says the same on each, and comes again at once where it is told to go. */
export interface Crowd {
  /** Beyond one for each of them, and begun, as not each succeeds. */
  handshakes(): number
  /** Of those that were told to go, the longest time until it was back, in milliseconds. */
  longestAbsence(): number
  /** Resolves when all that have to come again have. */
  back(): Promise<void>
  /** Each says one more thing, and is answered. */
  say(): Promise<void>
  close(): void
}

/** Bytes of a message: more than what a later one may refer to. */
const messageLength = 40_000

/** A hundred at once is less than a server's backlog holds; who comes again asks nobody. */
const lanes = 100

export async function gather(port: number, kind: Kind, count: number): Promise<Crowd> {
  const [first, next] = await messages(kind)
  const crowd = { handshakes: 0, longestAbsence: 0 }
  const guests: Guest[] = []
  await inLanes(count, async () => {
    const guest = new Guest(port, kind, crowd)
    guests.push(guest)
    await guest.enter()
    await guest.say(first)
  })
  return {
    handshakes: () => crowd.handshakes - count,
    longestAbsence: () => crowd.longestAbsence,
    async back() {
      await Promise.all(guests.map(({ isBack }) => isBack))
    },
    async say() {
      const all = [...guests]
      await inLanes(count, async () => {
        const guest = all.pop()!
        await guest.say(guest.hasComeAgain ? first : next)
      })
    },
    close() {
      for (const guest of guests) guest.leave()
    }
  }
}

class Guest {
  hasComeAgain = false
  isBack: Promise<void> = Promise.resolve()
  readonly #port: number
  readonly #kind: Kind
  readonly #crowd: { handshakes: number; longestAbsence: number }
  #socket: Socket | undefined
  #answered: () => void = () => {}

  constructor(port: number, kind: Kind, crowd: { handshakes: number; longestAbsence: number }) {
    this.#port = port
    this.#kind = kind
    this.#crowd = crowd
  }

  async enter(): Promise<void> {
    this.#crowd.handshakes++
    const socket = net.connect({ host, port: this.#port, noDelay: true })
    this.#socket = socket
    socket.write(handshake(this.#kind))
    const [answer] = await once(socket, 'data')
    if (!String(answer).startsWith('HTTP/1.1 101')) throw new Error(`the server answered: ${answer}`)
    socket.on('data', chunk => this.#hear(chunk))
    socket.on('error', () => {})
  }

  say(message: Buffer): Promise<void> {
    return new Promise(resolve => {
      this.#answered = resolve
      this.#socket?.write(message)
    })
  }

  leave(): void {
    this.#socket?.removeAllListeners('data').resetAndDestroy() // which leaves no port in TIME_WAIT
  }

  #hear(chunk: Buffer): void {
    if (chunk[0] === 0x88) this.#comeAgain()
    else if (chunk[0] !== 0x81) throw new Error(`the server says ${chunk.toString('hex', 0, 9)}`)
    else if (!chunk.toString('latin1', 2).startsWith(`${messageLength} `)) throw new Error(`not so: ${chunk}`)
    else this.#answered()
  }

  #comeAgain(): void {
    const begun = performance.now()
    this.#socket?.end(frame(0x88, Buffer.from([0x03, 0xf4])))
    this.hasComeAgain = true
    this.isBack = this.#enterAtLast().then(() => {
      const { longestAbsence } = this.#crowd
      this.#crowd.longestAbsence = Math.max(longestAbsence, performance.now() - begun)
    })
  }

  /** The system resets some where a server's backlog has been full for long: as in life, they try again. */
  async #enterAtLast(): Promise<void> {
    for (;;) {
      try {
        return await this.enter()
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error
      }
    }
  }
}

async function inLanes(count: number, work: () => Promise<void>): Promise<void> {
  let begun = 0
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      while (begun++ < count) await work()
    })
  )
}

/** What the server has in memory, and how many WebSockets: none of them is the one that asks. */
export async function askMemory(port: number): Promise<{ readonly rss: number; readonly clients: number }> {
  const socket = net.connect({ host, port })
  socket.end('GET /memory HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n')
  let text = ''
  for await (const chunk of socket) text += chunk
  return JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf(String.fromCharCode(closingBrace)) + 1))
}

function handshake(kind: Kind): string {
  const extension = kind === 'none' ? '' : 'Sec-WebSocket-Extensions: permessage-deflate\r\n'
  return `GET / HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${extension}\r\n`
}

/** One to begin with, and one that may refer to it. Masked by zeros. */
async function messages(kind: Kind): Promise<[first: Buffer, next: Buffer]> {
  const text = Buffer.from(wordsOf(messageLength))
  if (kind === 'none') return [frame(0x81, text), frame(0x81, text)]
  const deflate = createDeflateRaw()
  const first = await compress(text)
  if (kind === 'no context') deflate.reset()
  return [frame(0xc1, first), frame(0xc1, await compress(text))]

  async function compress(data: Buffer): Promise<Buffer> {
    const parts: Buffer[] = []
    const onData = (part: Buffer) => parts.push(part)
    deflate.on('data', onData)
    deflate.write(data)
    await new Promise<void>(resolve => deflate.flush(zlib.Z_SYNC_FLUSH, resolve))
    deflate.off('data', onData)
    return Buffer.concat(parts).subarray(0, -4)
  }
}

/** Compresses as text does, and is the same every time. */
function wordsOf(length: number): string {
  let seed = 1
  let text = ''
  while (text.length < length) {
    seed = (seed * 48_271) % 2_147_483_647
    text += `${(seed % 5_000).toString(36)} `
  }
  return text.slice(0, length)
}

function frame(first: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : 4)
  head[0] = first
  head[1] = 0x80 | (head.length === 2 ? payload.length : 126)
  if (head.length === 4) head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, Buffer.alloc(4), payload])
}
