import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'

const lib = path.resolve(import.meta.dirname, '../../lib')
const map = readFileSync(path.join(lib, 'README.md'), 'utf8')
const folders = readdirSync(lib, { withFileTypes: true })
  .filter(entry => entry.isDirectory())
  .map(({ name }) => name)

/** What the map names in code spans, line by line: `file.ts`, `folder/` or `function()`; not in its drawing. */
function mentions(): { readonly line: number; readonly name: string }[] {
  let isCode = false
  return map.split('\n').flatMap((text, index) => {
    if (text.startsWith('```')) isCode = !isCode
    if (isCode) return []
    const names = [...text.matchAll(/`([\w./-]+(?:\.ts|\/|\(\)))`/g)].map(([, name]) => name!)
    return names.map(name => ({ line: index + 1, name }))
  })
}

function read(file: string): string {
  return readFileSync(path.join(lib, file), 'utf8')
}

/** Whether a file declares a function of this name, or an object that it returns has one. */
function declares(file: string, name: string): boolean {
  return new RegExp(`function\\*? ${name}\\b|const ${name} = |^ +(?:async )?${name}\\(.*{$`, 'm').test(
    read(file)
  )
}

t.test('every file that the map names is there, and has the functions that are named behind it', async t => {
  let file = ''
  let count = 0
  for (const { line, name } of mentions()) {
    const where = `lib/README.md:${line} names ${name}`
    if (name.endsWith('.ts')) {
      file = name
      const isThere = existsSync(path.join(name.startsWith('test/') ? path.dirname(lib) : lib, name))
      t.ok(isThere, isThere ? where : `${where}, which is no file of lib/`)
    } else if (name.endsWith('()') && name !== 'listen()') {
      const isThere = existsSync(path.join(lib, file)) && declares(file, name.slice(0, -2))
      t.ok(isThere, isThere ? where : `${where}, which is no function of lib/${file}`)
      count++
    }
  }
  t.ok(count > 20, `it names ${count} functions`)
})

const wings = mentions().flatMap(({ name }) => (name.endsWith('/') ? [name.slice(0, -1)] : []))

t.test('the map has every folder of lib/, and no other', async t => {
  for (const folder of folders) t.ok(wings.includes(folder), `lib/${folder}/ is in the map`)
  for (const wing of wings) t.ok(folders.includes(wing), `${wing}/ of the map is in lib/`)
})

t.test('a folder imports only from those above it in the map', async t => {
  for (const file of readdirSync(lib, { recursive: true, encoding: 'utf8' })) {
    const from = path.dirname(file)
    if (!file.endsWith('.ts') || from === '.') continue
    for (const [, other] of read(file).matchAll(/(?:from|import\() ?'\.\.\/([\w-]+)\/[\w-]+\.js'/g))
      t.ok(wings.indexOf(other!) < wings.indexOf(from), `${file} imports from ${other}/`)
  }
})
