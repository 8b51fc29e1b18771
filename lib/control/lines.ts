/**
 * Cuts what comes in into lines.
 * @param limit longest line, in bytes
 * @returns to be called with each chunk: the lines that it completes, or undefined if one is too long
 */
export function splitLines(limit: number): (chunk: Buffer) => string[] | undefined {
  let rest: Buffer = Buffer.alloc(0)
  return function take(chunk) {
    const bytes = Buffer.concat([rest, chunk])
    const end = bytes.lastIndexOf('\n') + 1
    rest = bytes.subarray(end)
    const lines = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
    const isTooLong = rest.length > limit || lines.some(line => Buffer.byteLength(line) > limit)
    return isTooLong ? undefined : lines
  }
}

/** @returns undefined if the line isn't JSON */
export function parseLine(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
