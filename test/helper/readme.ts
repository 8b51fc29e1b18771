import { readFileSync } from 'node:fs'

export const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

/** The code under a heading of the README, block by block. */
export function blocksOf(heading: string, language: string): string[] {
  const [, section = ''] = readme.split(new RegExp(`^#+ ${heading}$`, 'm'))
  const [own = ''] = section.split(/^#+ (?=.*\n\n)/m)
  return [...own.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, text]) => text!)
}
