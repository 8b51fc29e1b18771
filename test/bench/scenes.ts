import type { Socket } from 'node:net'
import { close, open } from './harness.ts'
import { describeLoad, drive, type Load, type Traffic } from './traffic.ts'

/** Clients at work, connected as a scene wants it. */
export interface Cast {
  readonly traffics: readonly Traffic[]
  /** The load may be evened out from now on. */
  begin(): void
  /** Of the connections on which nothing is asked, those that have ended. */
  lost(): number
  /** Ends those. */
  end(): void
}

/** An uneven load of two workers. */
export interface Scene {
  readonly title: string
  arrange(port: number, pids: readonly [number, number]): Promise<Cast>
  /** Requests per second with balance shall be at least so many times those without. */
  readonly target?: number
}

const light: Load = { clients: 300, pause: 20, path: '/burn?turns=70000' }
const heavy: Load = { clients: 8, pause: 0, path: '/burn?turns=1200000' }
const dormant = 292
const half: Load = { clients: 150, pause: 200 }

export const scenes: readonly Scene[] = [
  {
    title: `all on one of two workers: ${describeLoad(light)}, some 0.3 ms of CPU each`,
    async arrange(port, [, second]) {
      stop(second)
      const sockets = await open(port, light.clients)
      return cast([drive(port, light, sockets)], () => resume(second))
    }
  },
  {
    title: `heavy ones on one, dormant ones on the other: ${describeLoad(heavy)}, some 5 ms of CPU each; ${dormant} never ask`,
    target: 1.3,
    async arrange(port, [first, second]) {
      stop(first)
      const sleeping = await open(port, dormant)
      resume(first)
      stop(second)
      const sockets = await open(port, heavy.clients)
      return cast([drive(port, heavy, sockets)], () => resume(second), sleeping)
    }
  },
  {
    title: `one of two workers stands still for 50 ms, every 100 ms: on each of them ${describeLoad(half)}`,
    async arrange(port, [first, second]) {
      stop(second)
      const onFirst = await open(port, half.clients)
      resume(second)
      stop(first)
      const onSecond = await open(port, half.clients)
      resume(first)
      return cast([drive(port, half, onFirst), drive(port, half, onSecond)], () =>
        process.kill(second, 'SIGUSR2')
      )
    }
  }
]

function cast(traffics: readonly Traffic[], begin: () => void, sleeping: readonly Socket[] = []): Cast {
  let lost = 0
  for (const socket of sleeping) socket.on('error', () => lost++)
  return { traffics, begin, lost: () => lost, end: () => close(sleeping) }
}

/** It accepts nothing, and takes no connection of the other: all that are opened now are the other's. */
function stop(pid: number): void {
  process.kill(pid, 'SIGSTOP')
}

function resume(pid: number): void {
  process.kill(pid, 'SIGCONT')
}
