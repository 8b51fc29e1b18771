import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type Contender, type Running, withServer } from './contender.ts'
import { close, open, request } from './harness.ts'
import { milliseconds, printTable } from './table.ts'

/** What the old version says of a drain, in milliseconds and connections. */
interface Drained {
  readonly ms: number
  readonly moved: number
  readonly refused: number
  readonly longestPause: number
}

const moves = ['first to worker', 'worker to worker']

/** How fast idle connections get from one generation to the next, and how long none of both reads one. */
export async function showIdle(
  contender: Contender,
  counts: readonly number[],
  rounds: number
): Promise<void> {
  const rows: string[][] = []
  for (let round = 0; round < rounds; round++) {
    for (const count of counts) {
      rows.push(...(await withServer(contender, server => moveTwice(server, count))))
    }
  }
  console.log(`4. ${contender.name}: idle connections moved, by the log of the generation that gives them away. Afterwards each is
   asked once: answers of the last generation, on the connection of before.
   Targets: 10000 in less than 5000 ms, no pause of more than 200 ms.
`)
  printTable(['', 'connections', 'moved', 'refused', 'ms', 'moved/s', 'longest pause, ms', 'answers'], rows)
}

async function moveTwice(server: Running, count: number): Promise<string[][]> {
  const sockets = await open(server.port, count)
  const rows: string[][] = []
  for (const move of moves) {
    await server.upgrade()
    const { ms, moved, refused, longestPause } = (await server.line('drained')) as unknown as Drained
    rows.push([
      move,
      String(count),
      String(moved),
      String(refused),
      String(ms),
      ((moved / ms) * 1_000).toFixed(0),
      milliseconds(longestPause),
      ''
    ])
  }
  rows.at(-1)![7] = String(await countAnswers(sockets))
  close(sockets)
  return rows
}

/** One after the other in each of a hundred rows. @returns how many the process gave that most have answers of */
async function countAnswers(sockets: readonly Socket[]): Promise<number> {
  const answers = new Map<string, number>()
  const queue = sockets.values()
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      for (const socket of queue) {
        if (socket.destroyed) continue
        socket.write(request)
        const [answer] = await once(socket, 'data')
        const pid = /"pid":\d+/.exec(String(answer))?.[0] ?? 'other'
        answers.set(pid, (answers.get(pid) ?? 0) + 1)
      }
    })
  )
  return Math.max(...answers.values())
}
