import { stripVTControlCharacters } from 'node:util'

/** What comes from another process may neither drive the terminal nor turn a line around. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const control = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
  return stripVTControlCharacters(text).replace(control, '')
}

/** The same, in one line. */
export function printableLine(text: string): string {
  return printable(text).replace(/\s+/g, ' ')
}

/**
 * JSON escapes what is below the space, and leaves the rest of what a terminal obeys.
 * @param indent spaces; 0 for all in one line
 */
export function printableJson(value: unknown, indent: number): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(value, undefined, indent).replace(
    /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    escaped
  )
}
