/** What a page in a browser sees of upgrades: nothing but what it was told. */
import { spawnSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Browser, chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { htmlOf } from '../../lib/rehearsal/html.js'
import { makeCertificate } from '../helper/certificate.ts'
import { missing } from '../helper/program.ts'
import { rehearsed, reportOf } from '../helper/rehearsal.ts'
import { type Server, startServer } from '../helper/server.ts'

const upgrades = Number(process.env.CHROMIUM_UPGRADES ?? 2)
const generations = Array.from({ length: upgrades + 1 }, (_, index) => index + 1)
const executablePath = spawnSync('which', ['chromium'], { encoding: 'utf8' }).stdout.trim()
const skip = missing('chromium')
const timeout = 60_000 + upgrades * 10_000

const folder = mkdtempSync(path.join(tmpdir(), 'fgu-chromium-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const certificate = makeCertificate(folder, '127.0.0.1')
let browser: Browser | undefined
t.teardown(() => browser?.close())

interface Visitor {
  readonly newPage: () => Promise<Page>
  /** Everything that the browser has to say against what these pages met. */
  readonly complaints: readonly string[]
}

/** With connections, cache and cookies of its own. */
async function visitor(t: Test): Promise<Visitor> {
  browser ??= await launch()
  const context = await browser.newContext()
  t.teardown(() => context.close())
  context.setDefaultTimeout(timeout / 2)
  const complaints: string[] = []
  context.on('requestfailed', request => complaints.push(`${request.url()} ${request.failure()?.errorText}`))
  context.on('response', response => {
    if (response.status() !== 200) complaints.push(`${response.url()} ${response.status()}`)
  })
  context.on('console', message => complaints.push(message.text()))
  context.on('weberror', ({ error }) => complaints.push(String(error())))
  context.on('page', page => {
    page.on('websocket', socket => socket.on('socketerror', error => complaints.push(error)))
  })
  return { newPage: () => context.newPage(), complaints }
}

async function launch(): Promise<Browser> {
  const { publicKey } = new X509Certificate(readFileSync(certificate.cert))
  const trusted = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' }))
  const args = [
    `--ignore-certificate-errors-spki-list=${trusted.digest('base64')}`,
    // Neither its GPU is here to be tested, nor QUIC; and it is to talk to nobody else.
    ...['--disable-gpu', '--disable-quic', '--disable-sync', '--disable-background-networking']
  ]
  return chromium.launch({ executablePath, args })
}

/** The origins over HTTP, HTTPS and HTTP/2, when all three listen. */
async function origins(server: Server): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const [name, scheme] of [
    ['http', 'http'],
    ['https', 'https'],
    ['h2', 'https']
  ]) {
    const { bound } = await server.line('listening on')
    found[name!] = `${scheme}://127.0.0.1:${bound[0].port}`
  }
  return found
}

t.test('a page with fetches, WebSockets and EventSources fails at nothing', { skip, timeout }, async t => {
  const server = startServer(t, { fixture: 'browser.js', release: certificate })
  const addresses = await origins(server)
  const { newPage, complaints } = await visitor(t)
  const page = await newPage()
  await page.goto(`${addresses.h2}/?${new URLSearchParams(addresses)}`)
  for (const generation of generations) {
    await page.waitForFunction(`hasMet(${generation})`, undefined, { polling: 100 })
    if (generation < generations.length) await server.reload()
  }
  const { failures, unanswered, answers, sockets, events } = (await page.evaluate('finish()')) as any
  t.comment(JSON.stringify({ unanswered, answers, events }))
  t.same(failures, [], 'the page has seen no failure, nor an event that was missed or came twice')
  t.same([unanswered.http, unanswered.https], [[], []], 'nor over HTTP/1.1 a request without an answer')

  // What Chromium has assigned to an HTTP/2 session and not sent yet when GOAWAY comes, it fails by itself, seldom.
  t.ok(unanswered.h2.length <= upgrades)
  const unsent = [`${addresses.h2}/ net::ERR_FAILED`, `${addresses.h2}/feed net::ERR_FAILED`]
  const isUnsent = (text: string) => unsent.includes(text) || text.endsWith('resource: net::ERR_FAILED')
  t.same(
    complaints.filter(text => !isUnsent(text)),
    [],
    'nor has the browser'
  )
  const received = server.lines.filter(({ msg }) => msg === 'received').map(({ body }) => body)
  for (const body of unanswered.h2) t.notOk(received.includes(body), `${body} was never sent`)
  t.equal(new Set(received).size, received.length, 'no request was sent again that was received')
  for (const [name, version] of [
    ['http', '1.1'],
    ['https', '1.1'],
    ['h2', '2.0']
  ]) {
    const each = generations.map(generation => `${generation} over ${version}`)
    t.same(Object.keys(answers[name!]), each, `each generation has answered over ${name}`)
    t.same(Object.keys(events[name!]), each, `and has sent events over ${name}`)
    const told = generations.map(generation => ({
      by: `${generation} over 1.1`,
      ...(generation < generations.length ? { code: 1012, wasClean: true } : {})
    }))
    t.same(sockets[name!], told, `and each WebSocket over ${name} was told to come again, once`)
  }
  await page.close()
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
})

t.test(
  'the example is what it says: a chat and a feed stay open in two windows',
  { skip, timeout },
  async t => {
    const server = startServer(t, { fixture: '../../example/live.mjs', env: { PORT: '0' } })
    const [address] = /http:.*/.exec((await server.line(/^Server listening at http:/)).msg)!
    const { newPage, complaints } = await visitor(t)
    const windows = [await newPage(), await newPage()]
    for (const page of windows) await page.goto(address)
    for (const generation of generations) {
      if (generation > 1) await server.reload()
      await shows(`generation ${generation}, reload it by kill -HUP ${server.pid}`)
      await shows(`, of generation ${generation}`)
      const input = windows[generation % 2]!.getByPlaceholder('say something')
      await input.fill(`hello of ${generation}`)
      await input.press('Enter')
      await shows(`hello of ${generation}`)
    }
    for (const page of windows) {
      const text = await page.innerText('body')
      t.match(text, 'opened: 1\n', 'no upgrade has closed the WebSocket')
      t.notMatch(text, /\(closed|\(ended/)
      const names = Array.from(text.matchAll(/you are (.*)/g), ([, name]) => name)
      t.same(
        names,
        generations.map(() => names[0]),
        'who is there has one name'
      )
      t.notMatch(text, 'has left')
      t.match(text, 'missed: 0, came twice: 0')
      const events = Array.from(text.matchAll(/^event (\d+), of/gm), ([, id]) => Number(id))
      const each = Array.from(events, (_, index) => events[0]! - index)
      t.same(events, each, `no event of ${events.length} was missed, none came twice`)
    }
    t.same(complaints, [], 'the browser has nothing to complain of')

    async function shows(text: string): Promise<void> {
      for (const page of windows) await page.getByText(text).first().waitFor()
    }
  }
)

t.test('the page of a rehearsal draws itself, in light and in dark', { skip, timeout }, async t => {
  const { newPage, complaints } = await visitor(t)
  const page = await newPage()
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setContent(htmlOf(reportOf(rehearsed, { ...rehearsed, mode: 'restart', failures: 7 })))
  t.equal(await page.textContent('h1'), 'PASSED0 of 12,431 requests failed')
  t.equal(await page.locator('canvas').count(), 2, 'a picture of each')
  t.equal(await page.textContent('td.bad'), '7')
  const light = await drawing(page)
  const paper = await page.evaluate(colour)
  await page.emulateMedia({ colorScheme: 'dark' })
  while ((await drawing(page)) === light); // until the test's own limit
  t.not(await page.evaluate(colour), paper, 'another paper, too')
  t.same(complaints, [])
})

const colour = 'getComputedStyle(document.body).backgroundColor'

/** Of the first picture, once it is drawn. */
function drawing(page: Page): Promise<string> {
  return page.evaluate(`new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(
    () => resolve(document.querySelector('canvas').toDataURL()))))`)
}
