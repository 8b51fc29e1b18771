import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { defaultOptions } from '../../lib/options.ts'
import { blocksOf, readme } from '../helper/readme.ts'

const root = path.resolve(import.meta.dirname, '../..')
const read = (file: string) => readFileSync(path.join(root, file), 'utf8')

t.test("the README's option table is the defaults of the code", async t => {
  const rows = [...readme.matchAll(/^\| `(\w+)` \| `(.+?)` \| (?!An|What `SIGHUP)/gm)].map(
    ([, name, value]) => [name, value]
  )
  const shown = (value: unknown) => JSON.stringify(value).replaceAll('"', "'").replaceAll(',', ', ')
  const defaults = Object.entries(defaultOptions).map(([name, value]) => [name, shown(value)])
  t.same(Object.fromEntries(rows), Object.fromEntries(defaults))
})

t.test('every npm script, file and heading that the documents name exists', async t => {
  const { scripts } = JSON.parse(read('package.json'))
  const documents = ['README.md', 'example/README.md', 'example/recipes/README.md']
  const anchors = new Set(documents.flatMap(file => anchorsOf(file)))
  for (const document of documents) {
    for (const [, script] of read(document).matchAll(/npm run ([\w:]+)/g)) t.ok(script! in scripts, script)
    for (const [, link] of read(document).matchAll(/\]\(((?!https?:)[^)]+)\)/g)) {
      const { pathname, hash } = new URL(link!, `file:///${document}`)
      t.ok(existsSync(path.join(root, pathname)), `${link} is a file`)
      if (hash) t.ok(anchors.has(pathname.slice(1) + hash), `${link} is a heading`)
    }
  }
})

/** As GitHub makes them of the headings. */
function anchorsOf(document: string): string[] {
  const headings = read(document).matchAll(/^#+ (.*)$/gm)
  const name = (heading: string) =>
    heading
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-')
  return [...headings].map(([, heading]) => `${document}#${name(heading!)}`)
}

t.test('what the README shows is what the examples are', async t => {
  const [block = ''] = blocksOf('Try it', 'sh')
  const [, server] = /<< 'END'\n(.*?)^END$/ms.exec(block) ?? []
  t.equal(read('example/smallest.mjs'), server)

  const [unit = ''] = blocksOf('systemd', 'ini')
  const whole = read('example/systemd/myapp.service').split('\n')
  t.not(unit, '')
  for (const line of unit.trim().split('\n')) t.ok(whole.includes(line), line)
})

t.test('the examples are all told of', async t => {
  for (const name of readdirSync(path.join(root, 'example'))) {
    if (name !== 'README.md') t.ok(`${readme}${read('example/README.md')}`.includes(name), name)
  }
  for (const name of readdirSync(path.join(root, 'example/recipes'))) {
    if (name !== 'README.md') t.ok(read('example/recipes/README.md').includes(`(${name})`), name)
  }
})
