import { existsSync } from 'node:fs'
import t from 'tap'
import { identify, relativesOf } from '../../../lib/client/process-table.js'
import { pidNamespace } from '../../../lib/control/pid-namespace.js'

const needsProc = { skip: !existsSync('/proc/self/status') && 'there is no /proc' }
const nobody = 2 ** 22 + 1 // more than Linux gives out

t.test('a process of our own namespace has our user, and one number', needsProc, async t => {
  const { uid, innerPid } = identify(process.pid)
  t.same({ uid, innerPid }, { uid: process.geteuid!(), innerPid: process.pid })
  t.same(identify(nobody), { innerPid: nobody })
})

t.test('a process belongs to those above it, and to those below', needsProc, async t => {
  t.same(relativesOf(process.pid, [process.ppid, nobody, process.pid]), [process.ppid])
  t.same(relativesOf(process.ppid, [process.pid, nobody]), [process.pid])
  t.same(relativesOf(nobody, [process.pid]), [])
})

t.test('the namespace is said of each process alike', needsProc, async t => {
  t.equal(pidNamespace(process.pid), pidNamespace())
  t.equal(pidNamespace(nobody), undefined)
})
