import { existsSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { checkFree, controlPaths, pidOf, probe } from '../../../lib/control/place.js'
import { controlFolder } from '../../helper/control.ts'

t.test('the places of a control socket depend on nothing but the process', async t => {
  const runtime = (uid: number) =>
    existsSync(`/run/user/${uid}`) ? [`/run/user/${uid}/graceful-upgrade/7.sock`] : []
  t.same(controlPaths(7, 0), [
    '/run/graceful-upgrade/7.sock',
    ...runtime(0),
    '/tmp/graceful-upgrade-0/7.sock'
  ])
  t.same(controlPaths(7, 12), [...runtime(12), '/tmp/graceful-upgrade-12/7.sock'])
})

t.test('each PID namespace has sockets of its own', async t => {
  t.equal(controlPaths(1, 12, '4026532201').at(-1), '/tmp/graceful-upgrade-12/4026532201-1.sock')
})

t.test('a socket in its place says whose it is', async t => {
  for (const file of controlPaths(7, 0)) t.equal(pidOf(file), 7, file)
  t.equal(pidOf(controlPaths(7, 12, '1').at(-1)!), undefined, 'but not to another PID namespace')
  t.equal(pidOf('/proc/4711/root/tmp/graceful-upgrade-0/1.sock'), 4711, 'by the number that we know it by')
  t.equal(pidOf('/tmp/app/7.sock'), undefined)
})

t.test('a place is free where nobody listens', async t => {
  const { asked, folder, listen } = controlFolder(t)
  await checkFree(asked)
  t.equal(await probe(asked), 'ENOENT')
  await listen(`${asked}.bound`, () => {})
  renameSync(`${asked}.bound`, asked)
  t.equal(await probe(asked), undefined)
  await t.rejects(checkFree(asked), /another server listens on/)
  writeFileSync(path.join(folder, 'file'), '')
  await t.rejects(checkFree(path.join(folder, 'file')), /is not a socket/)
})
