import { existsSync } from 'node:fs'
import path from 'node:path'
import Fastify from 'fastify'
import t from 'tap'
import { gracefulUpgrade } from '../../../lib/index.js'
import { temporaryFolder } from '../../helper/folder.ts'

// As it is installed: another copy for this process.
const copy: string = '../../../dist/index.js'
const { gracefulUpgrade: other } = (await import(copy)) as { gracefulUpgrade: typeof gracefulUpgrade }

t.test('two copies of this package in one process are refused, but one after the other is not', async t => {
  const one = Fastify()
  await one.register(gracefulUpgrade)
  const two = Fastify()
  await t.rejects(async () => two.register(other), { code: 'GRACEFUL_UPGRADE_DUPLICATE' })
  await one.close()

  const three = Fastify()
  await three.register(other)
  t.equal(three.gracefulUpgrade.state, 'starting')
  const four = Fastify()
  await t.rejects(async () => four.register(gracefulUpgrade), { code: 'GRACEFUL_UPGRADE_DUPLICATE' })
  await three.close()
})

t.test(
  'of two copies that are loaded, as by a test runner, one names a Unix socket, and leaves nothing',
  async t => {
    for (const plugin of [gracefulUpgrade, other, gracefulUpgrade]) {
      const app = Fastify()
      await app.register(plugin)
      const socket = path.join(temporaryFolder(t), 'app.sock')
      t.equal(await app.listen({ path: socket }), socket)
      t.ok(existsSync(socket))
      t.equal(app.gracefulUpgrade.state, 'serving')
      await app.close()
      t.notOk(existsSync(socket))
      t.equal(process.listenerCount('SIGHUP'), 0)
    }
  }
)

t.test(
  'an error of the built package has its name, which Node.js takes from the class when it prints it',
  async t => {
    const app = Fastify()
    const register = async () => app.register(other, { pollInterval: -1 })
    const error = await register().catch(reason => reason)
    t.equal(error.code, 'GRACEFUL_UPGRADE_INVALID_OPTION')
    t.equal(error.constructor.name, 'GracefulUpgradeError')
  }
)
