import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { parseRequests } from '../../../lib/rehearsal/requests.js'
import { temporaryFolder } from '../../helper/folder.ts'

const json = { 'content-type': 'application/json' }

for (const [text, request] of Object.entries({
  '/a?b=c': { name: 'GET /a?b=c', method: 'GET', path: '/a?b=c', headers: {}, weight: 1 },
  'delete /a': { name: 'DELETE /a', method: 'DELETE', path: '/a', headers: {}, weight: 1 },
  'POST /a {"n": 1}': {
    name: 'POST /a',
    method: 'POST',
    path: '/a',
    headers: json,
    body: '{"n": 1}',
    weight: 1
  },
  'PUT /a two words': {
    name: 'PUT /a',
    method: 'PUT',
    path: '/a',
    headers: { 'content-type': 'text/plain' },
    body: 'two words',
    weight: 1
  },
  '{"method":"POST","path":"/a","headers":{"Content-Type":"x/y"},"body":{"n":1},"weight":3,"expect":201}': {
    name: 'POST /a',
    method: 'POST',
    path: '/a',
    headers: { 'content-type': 'x/y' },
    body: '{"n":1}',
    weight: 3,
    expect: 201
  }
}))
  t.test(text, async t => t.strictSame(parseRequests([text]), [request]))

t.test('a file has a list of them', async t => {
  const file = path.join(temporaryFolder(t), 'requests.json')
  writeFileSync(file, JSON.stringify(['GET /a', { path: '/b', weight: 2 }]))
  t.match(parseRequests([`@${file}`, '/c']), [
    { name: 'GET /a' },
    { name: 'GET /b', weight: 2 },
    { path: '/c' }
  ])
})

for (const [text, message] of Object.entries({
  'GET a': /METHOD \/PATH/,
  '{"path":"a"}': /needs a path/,
  '{"path":"/","weight":0}': /weight must be a number above 0/,
  '{"path":"/","expect":"200"}': /expect must be a status/,
  '{"path":"/","headers":{"a":1}}': /headers must be an object of strings/,
  '{"path":': /is no JSON/,
  '@/nowhere/requests.json': /can't be read: ENOENT/
}))
  t.test(`${text} is refused`, async t =>
    t.throws(() => parseRequests([text]), { code: 'GRACEFUL_UPGRADE_USAGE', message })
  )

t.test('a file that has no list is refused', async t => {
  const file = path.join(temporaryFolder(t), 'requests.json')
  writeFileSync(file, '{}')
  t.throws(() => parseRequests([`@${file}`]), { message: /must be a JSON array of requests/ })
})
