/** A promise, and what settles it. */
export interface Deferred<Value> {
  readonly promise: Promise<Value>
  resolve(this: void, value: Value | PromiseLike<Value>): void
  reject(this: void, reason: unknown): void
}

/** `Promise.withResolvers()`, which Node.js has since 22. */
export function createDeferred<Value = void>(): Deferred<Value> {
  let resolve!: Deferred<Value>['resolve']
  let reject!: Deferred<Value>['reject']
  const promise = new Promise<Value>((...settle) => {
    ;[resolve, reject] = settle
  })
  return { promise, resolve, reject }
}
