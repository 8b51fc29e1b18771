import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type ClientOptions, WebSocket } from 'ws'

/** One client of the chat in test/fixture/kept.js, and all that it has found wrong. */
export interface Talker {
  readonly socket: WebSocket
  /** Of those who have answered, in turn. */
  readonly generations: number[]
  /** What a handler says first: who it is, and to whom it speaks. */
  readonly greetings: Greeting[]
  readonly wrong: string[]
  readonly asked: () => number
  readonly closed: Promise<number>
  /** Says no more, waits until all is answered, and closes. */
  end(): Promise<void>
}

export interface Greeting {
  readonly generation: number
  readonly pid: number
  readonly name: string
  readonly isBack: boolean
  readonly ip: string
}

export interface TalkerOptions extends ClientOptions {
  readonly name: string
  /** Longest pause between two messages, in milliseconds. */
  readonly pause?: number
  /** Beside the name. */
  readonly query?: string
  readonly subprotocols?: string[]
}

/** So many questions it lets stand, and then it waits: on a slow machine no connection would ever be at rest else. */
const unanswered = 3

/** Numbers what it says, in sizes, fragments and pauses of all kinds, and expects the same of its server. */
export async function startTalking(
  t: Test,
  port: number,
  { name, pause = 80, query = '', subprotocols = [], ...options }: TalkerOptions
): Promise<Talker> {
  const url = `ws://127.0.0.1:${port}/chat?name=${name}${query}`
  const socket = new WebSocket(url, subprotocols, { perMessageDeflate: { threshold: 0 }, ...options })
  t.teardown(() => socket.terminate())
  const generations: number[] = []
  const greetings: Greeting[] = []
  const wrong: string[] = []
  let asked = 0
  let answered = 0
  let said = 0
  let isOver = false
  socket.on('error', ({ message }) => wrong.push(message))
  socket.on('message', data => {
    const message = JSON.parse(String(data))
    if (message.said !== ++said) wrong.push(`said ${message.said} for ${said}`)
    if (generations.at(-1) !== message.generation) generations.push(message.generation)
    if (message.name !== undefined) greetings.push(message)
    else if (message.number !== ++answered || !message.right)
      wrong.push(`answer ${answered}: ${String(data).slice(0, 80)}`)
  })
  const closed = once(socket, 'close').then(([code]) => code as number)
  await Promise.race([once(socket, 'open'), closed])
  const talk = talkOn()
  return {
    socket,
    generations,
    greetings,
    wrong,
    asked: () => asked,
    closed,
    async end() {
      isOver = true
      await talk
      while (answered < asked && socket.readyState === WebSocket.OPEN) await sleep(5)
      socket.close(1000)
      if ((await closed) !== 1000) wrong.push(`closed with ${await closed}`)
    }
  }

  async function talkOn(): Promise<void> {
    while (!isOver && socket.readyState === WebSocket.OPEN) {
      say(textOf(++asked, lengthOf()))
      if (Math.random() < 0.1) socket.ping()
      do await sleep(Math.random() * pause, undefined, { ref: false })
      while (asked - answered > unanswered && !isOver && socket.readyState === WebSocket.OPEN)
    }
  }

  function say(text: string): void {
    if (Math.random() < 0.7) return socket.send(text)
    const at = Math.floor(Math.random() * text.length)
    socket.send(text.slice(0, at), { fin: false })
    socket.send(text.slice(at), { fin: true })
  }
}

function lengthOf(): number {
  const kind = Math.random()
  if (kind < 0.02) return 130_000
  return Math.floor(Math.random() * (kind < 0.1 ? 5_000 : 200))
}

/** Longer than what a compressor looks back on, so that a long text of it isn't short when it is compressed. */
const noise = Array.from({ length: 6_000 }, () => Math.random().toString(36).slice(2))
  .join('')
  .slice(0, 60_000)

/** Says its own length. */
function textOf(number: number, length: number): string {
  const full = Math.max(length, 20)
  const from = Math.floor(Math.random() * noise.length)
  const text = `${number} ${full} ${noise.slice(from)}`
  return text.length < full ? text.padEnd(full, noise) : text.slice(0, full)
}
