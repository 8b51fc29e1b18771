// `pm2 reload`, on SIGHUP. Its daemon runs in this very process, as in `pm2-runtime`: it ends with it, and no start
// of a command line takes the machine's time.
import cluster from 'node:cluster'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'

process.stdin.on('end', () => process.exit()).resume()

const pm2 = createRequire(process.env.PM2_PACKAGE)('pm2')
const call = name => promisify(pm2[name].bind(pm2))
const print = console.log
const instances = Number(process.env.WORKERS ?? 1)
let listening = 0
let reloads = Promise.resolve()

console.log = () => {} // of what it tells, nothing is a line of the server
cluster.on('listening', () => {
  listening++
  if (listening % instances > 0) return
  print(listening === instances ? '{"msg":"serving"}' : '{"msg":"generation ready"}')
})
process.on('SIGHUP', () => {
  reloads = reloads.then(() => call('reload')('bench')).catch(error => console.error(error))
})

await call('connect')(true)
await call('start')({
  name: 'bench',
  script: path.join(import.meta.dirname, 'upgrade-server.js'),
  exec_mode: 'cluster',
  instances,
  pmx: false,
  env: { PORT: process.env.PORT }
})
