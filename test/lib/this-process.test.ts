import Fastify from 'fastify'
import t from 'tap'
import { gracefulUpgrade } from '../../lib/index.js'

// As it is installed: another copy for this process.
const copy: string = '../../dist/index.js'
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
