import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { checkPath, makePrivate, whyNotPrivate } from '../../../lib/control/trusted-directory.js'
import { isRoot } from '../../helper/control.ts'
import { temporaryFolder } from '../../helper/folder.ts'

const uid = process.geteuid!()

t.test('a private directory is made for its owner alone, or is so already', async t => {
  const directory = path.join(temporaryFolder(t), 'own')
  const before = process.umask(0)
  makePrivate(directory, uid)
  process.umask(before)
  t.equal(statSync(directory).mode & 0o7777, 0o700)
  t.doesNotThrow(() => makePrivate(directory, uid))
})

t.test('one that others could use is refused, and not mended', async t => {
  const folder = temporaryFolder(t)
  const made = (name: string, mode: number) => {
    const directory = path.join(folder, name)
    mkdirSync(directory)
    chmodSync(directory, mode)
    return directory
  }
  const link = (name: string, target: string) => {
    symlinkSync(target, path.join(folder, name))
    return path.join(folder, name)
  }
  const open755 = made('open755', 0o755)
  const reasons: [string, RegExp][] = [
    [open755, /open755 is open to others: its mode is 755, not 700/],
    [made('open710', 0o710), /open to others: its mode is 710/],
    [link('link', made('real', 0o700)), /link is a link/],
    [link('dangling', 'gone'), /dangling is a link/]
  ]
  writeFileSync(path.join(folder, 'file'), '')
  reasons.push([path.join(folder, 'file'), /not a directory/])
  if (isRoot) {
    const foreign = made('foreign', 0o700)
    chownSync(foreign, 65_534, 65_534)
    reasons.push([foreign, /foreign belongs to uid 65534, not to uid 0/])
  }
  for (const [directory, message] of reasons) {
    t.throws(() => makePrivate(directory, uid), { message })
    t.match(whyNotPrivate(directory, uid), message)
  }
  t.equal(statSync(open755).mode & 0o777, 0o755)
  t.throws(() => whyNotPrivate(path.join(folder, 'gone'), uid), { code: 'ENOENT' })
})

t.test('a path is not used where anybody, a group, or another user could rename something of it', async t => {
  const folder = temporaryFolder(t)
  const place = (name: string, mode: number, owner?: number) => {
    const inner = path.join(folder, name, 'inner')
    mkdirSync(inner, { recursive: true })
    if (owner !== undefined) chownSync(path.dirname(inner), owner, owner)
    chmodSync(path.dirname(inner), mode)
    return path.dirname(inner)
  }
  const wrong: [string, RegExp][] = [
    [place('everybody', 0o707), /everybody may write to .*everybody \(chmod o-w\): choose another place/],
    [place('group', 0o770), /group \d+ may write to .*group \(chmod g-w\): choose another place/],
    [place('setgid', 0o2775), /group \d+ may write/]
  ]
  if (isRoot) wrong.push([place('foreign', 0o700, 65_534), /foreign belongs to uid 65534/])
  for (const [directory, message] of wrong) {
    for (const inner of ['', 'inner'])
      t.throws(() => checkPath(path.join(directory, inner), uid), { message }, directory)
  }
  symlinkSync('group/inner', path.join(folder, 'link'))
  t.throws(() => checkPath(path.join(folder, 'link'), uid), /group/, 'nor behind a link')
  for (const inner of ['', 'inner'])
    t.doesNotThrow(() => checkPath(path.join(place('sticky', 0o1770), inner), uid))
})
