import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import type { Report } from './report.js'

/** One file that needs no other: the page, what it draws with, and the numbers. */
export function htmlOf(report: Report): string {
  // Neither the end of a script nor a line that JavaScript doesn't know may come from within.
  const data = JSON.stringify(report).replace(/[<\u2028\u2029]/g, escapeCharacter)
  return read('report.html')
    .replace('/* uPlot.min.css */', () => read('uPlot.min.css'))
    .replace('/* uPlot.iife.min.js */', () => read('uPlot.iife.min.js'))
    .replace('{"report":null}', () => data)
}

/** All of them are beside this file where it is built. */
function read(name: string): string {
  const beside = path.join(import.meta.dirname, name)
  try {
    return readFileSync(beside, 'utf8')
  } catch {
    return readFileSync(createRequire(import.meta.url).resolve(`uplot/dist/${name}`), 'utf8')
  }
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
