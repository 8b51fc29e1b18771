import type { ServerResponse } from 'node:http'

/**
 * Ends a response for an application that knows nothing of it yet, and writes on until it hears of that by 'close': Node.js would
 * emit an error for it, and there may be no listener. What it writes goes nowhere.
 */
export function endUnasked(response: ServerResponse): void {
  const end = response.end as () => unknown
  response.write = (...rest: unknown[]) => {
    callBack(rest)
    return true
  }
  response.end = (...rest: unknown[]) => {
    callBack(rest)
    return response
  }
  end.call(response)
}

function callBack(rest: unknown[]): void {
  const call = rest.at(-1)
  if (typeof call === 'function') process.nextTick(call)
}
