import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { createSave } from '../../../lib/kept/save.js'
import { playLog } from '../../helper/play/log.ts'

const request = { method: 'GET', url: '/chat?token=secret' } as IncomingMessage

t.test('what the application saves is JSON', async t => {
  const { log, lines } = playLog()
  t.equal(
    createSave(() => ({ name: 'me', seen: [1, null] }), 100, request, log)(),
    '{"name":"me","seen":[1,null]}'
  )
  t.equal(createSave(() => null, 100, request, log)(), 'null')
  t.same(lines, [])
})

const circle: Record<string, unknown> = {}
circle.itself = circle

for (const [what, save] of [
  [
    'throws',
    () => {
      throw new Error('on purpose')
    }
  ],
  ['returns nothing', () => undefined],
  ['returns a function', () => () => 1],
  ['returns a promise', async () => ({ name: 'me' })],
  ['returns what is no JSON', () => circle],
  ['returns a bigint', () => 1n],
  ['returns too much, in bytes', () => 'ä'.repeat(50)]
] as const) {
  t.test(`there is no state where it ${what}, and the log names the route without its query`, async t => {
    const { log, lines, fields } = playLog()
    t.equal(createSave(save, 100, request, log)(), undefined)
    t.same(lines, ['warn: a connection is not kept: no state'])
    t.match(fields, [{ route: 'GET /chat', err: Error }])
  })
}
