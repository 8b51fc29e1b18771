import type { Place, ProxyKind } from './proxy.ts'

/**
 * HAProxy, which sends the requests of all its clients on whatever connection to the server is idle. It logs the
 * client's status, how the exchange has ended (`----` if well), and how often it tried again.
 */
export const haproxy: ProxyKind = {
  name: 'haproxy',
  arguments: config => ['-db', '-f', config],
  configure,
  stopSignal: 'SIGUSR1',
  chatter: /^(\[WARNING\] .* : )?Proxy \S+ stopped /
}

function configure({ address, upstream }: Place): string {
  return `
global
  log stdout format raw local0
  nbthread 1 # of two that log at the same moment, one drops its line rather than wait
defaults
  mode http
  log global
  log-format "exchange %ST %tsc %rc"
  option dontlognull
  timeout connect 20s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
listen app
  bind ${address.host}:${address.port}
  http-reuse always
  retries 0
  retry-on none
  no option redispatch
  server app ${'path' in upstream ? `unix@${upstream.path}` : `127.0.0.1:${upstream.port}`} check inter 1s
`
}
