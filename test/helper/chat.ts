import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'

/** One WebSocket, as one of its two sides has seen it. */
export interface Talk {
  readonly talk: string
  readonly generation: number
  readonly questions: number
  readonly answers: number
  /** Why it was closed. */
  readonly code: number
}

export interface ChatOptions {
  readonly clients: number
  /** Tells these clients' talks from those of others. @default 'chat' */
  readonly name?: string
  readonly done: AbortSignal
  /** Pause before each question, in milliseconds: between these two, drawn evenly. */
  readonly pause: readonly [number, number]
  /** Client `who` has had an answer. */
  readonly onAnswer?: (generation: number, who: string) => void
}

export interface ChatResult {
  readonly talks: Talk[]
  /** What a client would report, by its words. */
  readonly failures: Record<string, number>
}

/**
 * Clients that number their questions, wait for no answer before they ask on, and come again at once when they are
 * told to go, until `done` is aborted. Of the server they expect its generation first, then each question as it was.
 */
export async function chat(
  address: { readonly host: string; readonly port: number },
  { clients, name = 'chat', done, pause: [least, most], onAnswer }: ChatOptions
): Promise<ChatResult> {
  const talks: Talk[] = []
  const failures: Record<string, number> = {}
  await Promise.all(Array.from({ length: clients }, (_, index) => run(`${name} ${index}`)))
  return { talks, failures }

  async function run(who: string): Promise<void> {
    for (let count = 1; !done.aborted; count++) await hold(who, `${who}.${count}`)
  }

  async function hold(who: string, talk: string): Promise<void> {
    let generation = 0
    let questions = 0
    let answers = 0
    const socket = new WebSocket(`ws://${address.host}:${address.port}/chat?talk=${talk}`)
    socket.on('error', ({ message }) => fail(message))
    socket.on('message', data => {
      if (generation === 0) ({ generation } = JSON.parse(String(data)))
      else if (Number(data) !== ++answers) fail(`${data} for an answer where it is the turn of ${answers}`)
      else onAnswer?.(generation, who)
    })
    const closed = new Promise<number>(resolve => socket.once('close', resolve))
    const opened = new Promise(resolve => socket.once('open', resolve))
    await Promise.race([opened, closed])
    while (socket.readyState === WebSocket.OPEN && !done.aborted) {
      socket.send(String(++questions))
      await sleep(least + Math.random() * (most - least))
    }
    if (socket.readyState === WebSocket.OPEN) socket.close(1000)
    const code = await closed
    if (generation > 0) talks.push({ talk, generation, questions, answers, code })
    else fail(`closed with ${code} before a word`)
  }

  function fail(message: string): void {
    failures[message] = (failures[message] ?? 0) + 1
  }
}
