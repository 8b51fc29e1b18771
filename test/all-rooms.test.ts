/**
 * The tests of test/lib in one process: to load tap and the compiler takes longer than most of them do, which are a
 * hundred files. Those that load the whole plugin, or watch by themselves what this process listens on, do so for good,
 * and have a process each: they stand in package.json beside this one. One alone is run by its name:
 * `npx tap run test/lib/master/roster.test.ts`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import { mock } from 'node:test'
import t from 'tap'

const root = path.resolve(import.meta.dirname, '..')
const { tap } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
const files = readdirSync(path.join(root, 'test/lib'), { recursive: true, encoding: 'utf8' }).sort()
const alone: string[] = tap.include.filter((file: string) => file.startsWith('test/lib/'))
const rooms = files.filter(file => file.endsWith('.test.ts') && !alone.includes(`test/lib/${file}`))

/** Tests of no file in lib/. */
const others = ['map', 'readme']

t.test('each that has a process of its own is there', async t => {
  for (const file of alone) t.ok(existsSync(path.join(root, file)), file)
  enter(rooms)
})

/** What a file tells stands behind this test, and the next file behind that: tap would take a pause for the end. */
function enter([file, ...more]: string[]): void {
  if (file === undefined) return
  const name = file.replace('.test.ts', '')
  t.test(`the test of lib/${name}.ts`, async t => {
    leave()
    t.not(existsSync(path.join(root, 'lib', `${name}.ts`)), others.includes(name), 'which is there')
    await import(path.join(root, 'test/lib', file))
    enter(more)
  })
}

/** What a file may have set for all of its tests. */
function leave(): void {
  t.jobs = 1
  mock.timers.reset()
  syncBuiltinESMExports()
}
