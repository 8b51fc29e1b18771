import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { defaultOptions } from '../../lib/options.ts'

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

t.test("the README's option table is the defaults of the code", async t => {
  const rows = [...readme.matchAll(/^\| `(\w+)` \| `(.+?)` \| (?!An|What `SIGHUP)/gm)].map(
    ([, name, value]) => [name, value]
  )
  const shown = (value: unknown) => JSON.stringify(value).replaceAll('"', "'").replaceAll(',', ', ')
  const defaults = Object.entries(defaultOptions).map(([name, value]) => [name, shown(value)])
  t.same(Object.fromEntries(rows), Object.fromEntries(defaults))
})

t.test('every npm script and file that the README names exists', async t => {
  const { scripts } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  for (const [, script] of readme.matchAll(/npm run ([\w:]+)/g)) t.ok(script! in scripts, script)
  for (const [, file] of readme.matchAll(/\]\(((?!https?:)[^)]+)\)/g)) {
    t.ok(existsSync(new URL(`../../${file}`, import.meta.url)), file)
  }
})
