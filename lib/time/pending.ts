import { createDeferred, type Deferred } from './deferred.js'
import { afterReading } from './event-loop.js'

/** Questions to another process that wait for their answers; an id tells which is whose. */
export interface Pending<Answer> {
  /**
   * @param send asks the question, with this id; the answer may come within it
   * @param limit so long is waited, in milliseconds, and then this is the answer; without it silence is no answer
   */
  ask(send: (id: number) => void, limit?: { readonly ms: number; readonly answer: Answer }): Promise<Answer>
  /** What nobody waits for, or not any more, is ignored. */
  answer(id: number, answer: Answer): void
  refuse(id: number, error: Error): void
  /** The other process is gone: so much is known of what it has not answered. */
  answerAll(answer: Answer): void
  refuseAll(error: Error): void
}

export function createPending<Answer>(): Pending<Answer> {
  const waiting = new Map<number, Deferred<Answer>>()
  let lastId = 0
  return {
    ask(send, limit) {
      const id = ++lastId
      const deferred = createDeferred<Answer>()
      waiting.set(id, deferred)
      const stop = limit && afterReading(limit.ms, () => take(id)?.resolve(limit.answer))
      send(id)
      return deferred.promise.finally(stop)
    },
    answer: (id, answer) => take(id)?.resolve(answer),
    refuse: (id, error) => take(id)?.reject(error),
    answerAll(answer) {
      for (const { resolve } of takeAll()) resolve(answer)
    },
    refuseAll(error) {
      for (const { reject } of takeAll()) reject(error)
    }
  }

  function take(id: number): Deferred<Answer> | undefined {
    const deferred = waiting.get(id)
    waiting.delete(id)
    return deferred
  }

  function takeAll(): Deferred<Answer>[] {
    const all = [...waiting.values()]
    waiting.clear()
    return all
  }
}
