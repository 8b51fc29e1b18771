import { mkdirSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { createReleases } from '../../../lib/master/releases.js'
import { temporaryFolder } from '../../helper/folder.ts'
import { playGeneration } from '../../helper/generation.ts'

/** Releases 1 and 2, and a link that leads to the first one. */
function setUp(t: Test, { isCommand = false, script = 'server.js' } = {}) {
  const folder = realpathSync(temporaryFolder(t))
  const current = path.join(folder, 'current')
  for (const release of ['1', '2']) {
    mkdirSync(path.join(folder, release))
    writeFileSync(path.join(folder, release, 'server.js'), '')
  }
  symlinkSync('1', current)
  const asked: number[] = []
  const releases = createReleases(nth => {
    asked.push(nth)
    return {
      command: 'node',
      args: [script],
      ...(!isCommand && { main: 0 }),
      directory: current,
      environment: { NTH: String(nth) }
    }
  })
  return { folder, current, releases, asked, flip }

  function flip(): void {
    symlinkSync('2', `${current}.new`)
    renameSync(`${current}.new`, current)
  }
}

t.test('a generation runs what is there when it is chosen, by the name of the link', async t => {
  const { folder, current, releases } = setUp(t)
  const release = releases.choose({ number: 1 })
  t.equal(release.place, path.join(folder, '1/server.js'))
  t.match(release.next(), { directory: current, environment: { NTH: '1' } })
  t.match(
    release.next(),
    { directory: current, environment: { NTH: '2' } },
    'a later process of it is no first one'
  )
})

t.test('who takes the place of a dead one runs the same, wherever the link leads by then', async t => {
  const { folder, releases, flip } = setUp(t)
  const dead = playGeneration(3)
  const first = releases.choose({ number: 3 })
  first.next()
  releases.note(dead, first)
  flip()
  const again = releases.choose({ number: 4, release: dead })
  t.equal(again, first)
  t.equal(again.next().directory, path.join(folder, '1'))
  t.equal(releases.of(dead)?.place, path.join(folder, '1/server.js'))
  t.equal(
    releases.choose({ number: 5 }).place,
    path.join(folder, '2/server.js'),
    'and who is asked for what is there'
  )
})

t.test('where that is gone, or was never known, what is there is better than nothing', async t => {
  const { folder, releases, flip } = setUp(t)
  const dead = playGeneration(3)
  releases.note(dead, releases.choose({ number: 3 }))
  flip()
  rmSync(path.join(folder, '1'), { recursive: true })
  t.equal(releases.choose({ number: 4, release: dead }).place, path.join(folder, '2/server.js'))
  t.equal(releases.choose({ number: 4, release: playGeneration(9) }).place, path.join(folder, '2/server.js'))
})

t.test(
  'it is gone with its folder, where there is no script, and there without the ending of its name',
  async t => {
    const tool = setUp(t, { isCommand: true })
    const dead = playGeneration(3)
    tool.releases.note(dead, tool.releases.choose({ number: 3 }))
    tool.flip()
    t.equal(tool.releases.choose({ number: 4, release: dead }).place, path.join(tool.folder, '1'))
    rmSync(path.join(tool.folder, '1'), { recursive: true })
    t.equal(tool.releases.choose({ number: 4, release: dead }).place, path.join(tool.folder, '2'))
    const short = setUp(t, { script: 'server' })
    short.releases.note(dead, short.releases.choose({ number: 3 }))
    short.flip()
    t.equal(short.releases.choose({ number: 4, release: dead }).place, path.join(short.folder, '1/server'))
  }
)
