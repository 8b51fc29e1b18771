import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net, { type AddressInfo, type Server } from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import * as undici from 'undici'
import { createHttp1 } from '../../../lib/rehearsal/http1.js'
import { createHttp2 } from '../../../lib/rehearsal/http2.js'
import { parseRequests } from '../../../lib/rehearsal/requests.js'
import { findTarget, placeOf } from '../../../lib/rehearsal/target.js'
import { makeCertificate } from '../../helper/certificate.ts'
import { temporaryFolder } from '../../helper/folder.ts'

const folder = temporaryFolder(t)
const files = makeCertificate(folder)
const certificate = { key: readFileSync(files.key), cert: readFileSync(files.cert) }
const answer = (_request: unknown, response: { end(body: string): void }) => response.end('fine')

/** @returns where it is bound, as a master says it */
async function listen(t: Test, server: Server, file?: string): Promise<string> {
  await once(file === undefined ? server.listen(0, '127.0.0.1') : server.listen(file), 'listening')
  t.teardown(() => server.close())
  return file ?? `127.0.0.1:${(server.address() as AddressInfo).port}`
}

for (const [name, create, origin, protocol] of [
  ['HTTP/1.1', () => http.createServer(answer), /^http:\/\/127/, 'http/1.1'],
  ['HTTP/1.1 over TLS', () => https.createServer(certificate, answer), /^https:\/\/127/, 'http/1.1'],
  ['HTTP/2 over TLS', () => http2.createSecureServer(certificate, answer as never), /^https:\/\/127/, 'h2'],
  ['HTTP/2 in cleartext', () => http2.createServer(answer as never), /^http:\/\/127/, 'h2'],
  ['HTTP/1.1 on a Unix socket', () => http.createServer(answer), /^http:\/\/localhost$/, 'http/1.1'],
  [
    'HTTP/2 over TLS on a Unix socket',
    () => http2.createSecureServer(certificate, answer as never),
    /^https:\/\/localhost$/,
    'h2'
  ]
] as const)
  t.test(`${name} is found, and asked`, async t => {
    const file = /Unix/.test(name) ? path.join(folder, `${protocol.replace('/', '')}.sock`) : undefined
    const bound = await listen(t, create(), file)
    const target = await findTarget([{ key: 'x', bound }], '/')
    t.match(target, { origin, protocol, bound })
    const options = { timeout: 5_000, isFresh: true, onReconnect: () => {} }
    const connection = protocol === 'h2' ? createHttp2(target, options) : createHttp1(undici, target, options)
    t.match(await connection.ask(parseRequests(['/'])[0]!, {}), { status: 200 })
    connection.destroy()
  })

t.test('a listener that speaks something else is passed over', async t => {
  const other = await listen(
    t,
    net.createServer(socket => socket.on('error', () => {}).end('220 mail\r\n'))
  )
  const bound = await listen(t, http.createServer(answer))
  t.match(
    await findTarget(
      [
        { key: 'x', bound: other },
        { key: 'y', bound }
      ],
      '/'
    ),
    { bound }
  )
  const nobody = findTarget([{ key: 'x', bound: other }], '/')
  await t.rejects(nobody, { code: 'GRACEFUL_UPGRADE_REHEARSAL', message: new RegExp(other) })
})

t.test('who listens on all addresses is asked on one of this machine', async t => {
  t.match(placeOf('0.0.0.0:80'), { host: '127.0.0.1', port: 80 })
  t.match(placeOf('[::]:80'), { host: '::1', port: 80 })
  t.match(placeOf('[fe80::1]:80'), { host: 'fe80::1', port: 80 })
  t.match(placeOf('/run/a:80'), { path: '/run/a:80' })
})
