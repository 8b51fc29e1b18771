/** What systemd is told at once: `NAME=VALUE` each. */
export type Assignment = readonly [name: string, value: string]

/** @param done called once, and never before this function has returned */
export type Send = (assignments: readonly string[], done: (error?: Error) => void) => void

/** Messages on their way, one after the other: the next one leaves when the one before has arrived, or failed. */
export interface Outbox {
  /** A state of the service is a message of its own: each of them must be seen, in their order. */
  say(...assignments: Assignment[]): void
  /** Anything else goes with what still waits, and replaces what is out of date. */
  add(...assignment: Assignment): void
}

export function createOutbox(
  send: Send,
  onError: (error: Error, message: readonly string[]) => void
): Outbox {
  const waiting: Map<string, string>[] = []
  let isUnderWay = false
  return { say, add }

  function say(...assignments: Assignment[]): void {
    waiting.push(new Map(assignments))
    sendNext()
  }

  function add(name: string, value: string): void {
    const last = waiting.at(-1)
    if (last === undefined) say([name, value])
    else last.set(name, value)
  }

  function sendNext(): void {
    const message = isUnderWay ? undefined : waiting.shift()
    if (message === undefined) return
    isUnderWay = true
    const assignments = Array.from(message, ([name, value]) => `${name}=${value}`)
    send(assignments, error => {
      isUnderWay = false
      if (error !== undefined) onError(error, assignments)
      sendNext()
    })
  }
}
