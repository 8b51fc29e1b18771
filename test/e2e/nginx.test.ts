/** A server behind nginx, which keeps connections to it open, is upgraded: neither nginx nor its clients notice. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { load } from '../helper/load.ts'
import { cleanEnvironment, startServer } from '../helper/server.ts'

const upgrades = Number(process.env.NGINX_UPGRADES ?? 20)
/** Milliseconds from one upgrade to the next, or longer if it isn't ready then. */
const period = 400

const environment = { ...cleanEnvironment(), PATH: `${process.env.PATH}${path.delimiter}/usr/sbin` }
const skip = spawnSync('nginx', ['-v'], { env: environment }).error ? 'nginx is not installed' : false

for (const handover of ['idle', 'all'] as const) {
  for (const over of ['TCP', 'a Unix socket'] as const) {
    t.test(`nginx over ${over} loses no request with handover '${handover}'`, { skip }, async t => {
      const listen = over === 'TCP' ? { port: 0, host: '127.0.0.1' } : { path: 'app.sock' }
      const server = startServer(t, { release: { listen: [listen], options: { handover } } })
      const upstream =
        over === 'TCP'
          ? `127.0.0.1:${await server.port()}`
          : `unix:${path.join(server.directory, 'app.sock')}`
      await server.line('listening on')
      const nginx = await startNginx(t, upstream)

      const controller = new AbortController()
      t.teardown(() => controller.abort())
      const [result] = await Promise.all([
        load(nginx.address, { clients: 20, pause: [0, 20], done: controller.signal }),
        upgradeAll().finally(() => controller.abort())
      ])
      t.comment(JSON.stringify(result))
      t.same(result.failures, {}, 'no client reports a failure')
      t.equal(Object.keys(result.generations).length, upgrades + 1, 'every generation has answered')

      await nginx.stop()
      const statuses: Record<string, number> = {}
      for (const status of nginx.log('access')) statuses[status] = (statuses[status] ?? 0) + 1
      t.same(statuses, { '200 200': result.requests }, 'nginx and the server have answered all with 200')
      t.same(nginx.log('error'), [], 'nginx has nothing to complain of')

      server.kill('SIGTERM')
      t.same(await server.exit(), { code: 0, signal: null }, 'the server ends well')
      const drains = server.lines.filter(({ msg }) => msg === 'drained')
      t.ok(
        drains.some(({ moved }) => moved > 0),
        'connections of nginx were handed over'
      )

      async function upgradeAll(): Promise<void> {
        for (let generation = 2; generation <= upgrades + 1; generation++) {
          const [line] = await Promise.all([server.reload(), sleep(period)])
          t.equal(line.generation, generation, 'the upgrade succeeds')
        }
        await sleep(period)
      }
    })
  }
}

interface Nginx {
  readonly address: { readonly host: string; readonly port: number }
  /** Resolves when it and its workers have gone. */
  stop(): Promise<void>
  log(name: 'access' | 'error'): string[]
}

async function startNginx(t: Test, upstream: string): Promise<Nginx> {
  const directory = mkdtempSync(path.join(tmpdir(), 'fgu-nginx-'))
  const address = { host: '127.0.0.1', port: await freePort() }
  const config = path.join(directory, 'nginx.conf')
  mkdirSync(path.join(directory, 'temp'))
  writeFileSync(config, configure(directory, address, upstream))

  const child = spawn('nginx', ['-p', directory, '-c', config], { env: environment, stdio: 'pipe' })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (output += chunk))
  const exited = once(child, 'close')
  const stop = async () => {
    child.kill('SIGQUIT')
    await exited
  }
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
    rmSync(directory, { recursive: true, force: true })
  })
  await Promise.race([
    accepts(address),
    exited.then(([code]) => Promise.reject(new Error(`nginx has ended with ${code}: ${output}`)))
  ])
  return { address, stop, log }

  function log(name: string): string[] {
    const text = readFileSync(path.join(directory, `${name}.log`), 'utf8')
    return text.split('\n').filter(line => line !== '')
  }
}

function configure(directory: string, address: Nginx['address'], upstream: string): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
daemon off;
worker_processes 1;
${process.getuid?.() === 0 ? `user ${userInfo().username};` : ''}
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 512; }
http {
  log_format statuses '$status $upstream_status';
  access_log ${directory}/access.log statuses;
  ${kinds.map(kind => `${kind}_temp_path ${directory}/temp/${kind};`).join('\n  ')}
  upstream app {
    server ${upstream};
    keepalive 32;
  }
  server {
    listen ${address.host}:${address.port};
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }
  }
}
`
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** nginx doesn't say that it listens. */
async function accepts(address: Nginx['address']): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end; await sleep(20)) {
    const client = new Client(address)
    const connected = await client.socket().then(
      () => true,
      () => false
    )
    client.close()
    if (connected) return
  }
  throw new Error('nginx accepts no connection')
}
