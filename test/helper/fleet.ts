import { haproxy } from './haproxy.ts'
import { nginx } from './nginx.ts'
import type { ProxyKind } from './proxy.ts'

/** HAProxy in front of several servers. It asks each whether it is ready, and tries nothing again. */
export function haproxyFor(ports: readonly number[]): ProxyKind {
  const servers = ports.map((port, index) => `  server app${index} 127.0.0.1:${port}`)
  return {
    ...haproxy,
    chatter: /Proxy \S+ stopped |Server app\/app\d is (UP|DOWN)/,
    configure: place =>
      haproxy
        .configure(place)
        .replace(/^ {2}server .*$/m, servers.join('\n'))
        .replace(
          'listen app',
          'listen app\n  balance roundrobin\n  option httpchk GET /ready\n  timeout check 10s\n  default-server check inter 100ms fall 1 rise 1'
        )
  }
}

/**
 * nginx in front of several servers. It asks none of them: whoever refuses a connection, or ends it, is left out for a second, and
 * the request goes to the next one, if it may be sent again.
 */
export function nginxFor(ports: readonly number[]): ProxyKind {
  const servers = ports.map(port => `    server 127.0.0.1:${port} max_fails=1 fail_timeout=1s;`)
  return {
    ...nginx,
    chatter:
      /(connect\(\) failed \(111: Connection refused|recv\(\) failed \(104: Connection reset|upstream prematurely closed connection)|temporarily disabled/,
    configure: place =>
      nginx
        .configure(place)
        .replace(/^ {4}server .*$/m, servers.join('\n'))
        .replace('proxy_next_upstream off', 'proxy_next_upstream error timeout')
  }
}
